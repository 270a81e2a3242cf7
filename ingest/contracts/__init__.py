"""The contract between edges and workers: values, names and codecs.

The only part of `ingest` that `workers` may import. Pure: no I/O, and no imports from other
packages of the project.
"""
