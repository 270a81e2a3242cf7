"""The far side of the stream: envelopes in, rows out."""
