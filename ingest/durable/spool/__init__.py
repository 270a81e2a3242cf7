"""Events on the edge's own disk, while the stream cannot take them.

`records` is the file format, `files` the file system's operations, `store` one directory of
segments, `directory` the stores of all edges of a data directory, `spool` their asynchronous
use by one edge.
"""
