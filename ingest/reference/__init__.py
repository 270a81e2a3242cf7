"""The API described: an OpenAPI document, and the viewer that `/docs` shows it in.

Pure: the document is made of the dialects. `ingest.http` serves both.
"""
