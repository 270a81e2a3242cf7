"""Connections to Redis by purpose, and the state of a shard's stream.

Every folder of the workers may import it.
"""
