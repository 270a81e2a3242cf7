"""HTTP: connections, routes, and the bytes of requests and answers.

Only the composition root and `ingest.bulk` import this folder.
"""
