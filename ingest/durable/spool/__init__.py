"""Events on the edge's own disk, while the stream cannot take them.

`records` is the form of the bytes, `files` the few things asked of a file system, `store`
one directory of segments, `home` the directories of all edges beside each other, `spool`
what an edge does with them without blocking its loop.
"""
