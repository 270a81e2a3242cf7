"""HTTP: connections, routes, and the bytes of requests and answers.

Only `ingest.app` and `ingest.bulk` import this folder.
"""
