"""What makes a 2xx true: the stream first, the spool on disk second.

Implements the ports of `ingest.core`; only the composition root imports it.
"""
