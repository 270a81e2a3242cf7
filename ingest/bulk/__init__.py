"""Many events in one request: `POST /v1/events`.

`ingest.dialects.batch` has the contract; this package reads a batch, processes it event by
event, and answers it.
"""
