"""The shards of the streams: which there are and where; another number or place of them.

Commands alone import it.
"""
