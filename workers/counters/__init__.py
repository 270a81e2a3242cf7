"""The counters of links, partners and days, milestones, and the ledger of stream entries."""
