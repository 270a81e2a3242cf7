"""Values that several stages share: batches of stream entries, rows of events.

Every folder may import it; it imports only `ingest.contracts`.
"""
