"""What is counted: counters of links and partners, the ledger of stream entries, lost entries."""
