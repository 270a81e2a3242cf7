"""One batch, one transaction: dedup, rows, customers, counters."""
