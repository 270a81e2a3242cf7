"""What is where: ledger, streams, spools, one event, and the proof of all counters."""
