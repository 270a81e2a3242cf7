"""The edge: HTTP in, envelopes out."""
