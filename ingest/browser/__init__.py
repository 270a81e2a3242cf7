"""The tracker: the script that web pages load, its source and what is built of it.

`source` is TypeScript; `built` is committed, so that nobody who runs an edge needs Node.
README.md is the npm package's, and says how to build. `ingest.http` serves the scripts.
"""
