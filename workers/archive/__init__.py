"""The archive: every stream entry, kept in files for longer than the stream keeps it.

`archiver` writes one shard, `reader` reads entries back, `retention` deletes old segments,
`object_store` uploads segments and fetches them again.
"""
