"""What both sides of the stream agree on.

The only part of `ingest` that `workers` may import. Everything in here is pure: values,
names and codecs. It imports nothing of ours and speaks to nobody.
"""
