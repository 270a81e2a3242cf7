"""Erasure: a person's events stay and count, but no longer contain personal data.

An erasure begins in one transaction (`begin`). It adds the person to the suppressions, lists
the recorded events to rewrite, and gives the claims new keys. Every writer shares a lock with
that transaction until its commit. So each event is either on the list, or its writer knows
the suppressions (`suppression`) and pseudonymizes it (`pseudonyms`). From then on nothing
brings the person back: no replay, redrive, repeat or event spooled on an edge's disk.

The command and every worker then work off the lists (`runner`), a page a transaction: rows
and quarantine, then the customer and the edges' records of it. Entries are deleted from Redis
when every group has acknowledged them (`redis_data`). Workers with access to an archive's disk
rewrite it (`archives`).

Counters stay exact because a pseudonym depends only on the original and a constant key:
events that shared a customer, a dedupe key or a session still share its pseudonym.
"""
