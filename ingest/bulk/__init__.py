"""Many events in one request: `POST /v1/events`.

`ingest.dialects.batch` has the contract and the words; here is how a batch is read, judged
event by event, and answered.
"""
