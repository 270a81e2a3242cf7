"""Copies of archive segments in an object store."""
