"""The archive: every envelope that reached a stream, kept in files beyond the trimmer.

`archiver` writes one shard, `reading` is for who wants entries back, `keeping` deletes what
is older than the operator wants.
"""
