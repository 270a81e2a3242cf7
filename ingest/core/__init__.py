"""Accepts requests: from their parsed HTTP to the append. Pure, but for its ports.

`ingest.http` and `ingest.bulk` call it; adapters implement its ports and import its values.
"""
