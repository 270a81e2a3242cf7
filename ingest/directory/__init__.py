"""The read model that workers publish: lookups in Redis, a replica in memory.

Implements the ports of `ingest.core`; only the composition root imports it.
"""
