"""Where the streams are, and what their shards are called.

Both sides import it. It does no I/O.
"""
