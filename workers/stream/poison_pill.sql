-- tables_are_free: wait until a batch could be written; in the order of `write`
lock table quarantine, claims, customers, events, repeats, links, ledger in row exclusive mode
