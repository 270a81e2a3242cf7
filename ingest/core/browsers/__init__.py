"""What browsers are told beside an answer. Read by `accept` only."""
