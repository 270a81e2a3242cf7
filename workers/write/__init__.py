"""Records one batch in one transaction: dedup, rows, customers, counters."""
