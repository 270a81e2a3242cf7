"""Erasure: a person's events stay and count, and say nothing of the person any more.

An erasure begins in one transaction (`beginning`): whom it concerns (`subject`) goes onto the
list of suppressions, the events as they are now onto a list of their own, and the claims get
new keys. That transaction has the lock that every writer shares until its commit, so what was
written before is on the list, and what is written after knows the suppressions
(`suppressing`) and is written under pseudonyms (`pseudonymize`). From there on nothing brings the
person back: a replay, a redrive, an event that waited on an edge's disk, a repeat.

Then the lists are worked off (`erasing`), by the command and by every worker, a page in a
transaction, whoever is killed meanwhile: rows (`recorded`), quarantine (`quarantined`), last
the customer and what edges know of it. What Redis holds is worked off when every group has
acknowledged it (`leftovers`). Archives are rewritten by whoever has their disk (`archives`).

Why counters stay exact: a pseudonym is a function of what it stands for and of a key that
never changes. Whatever two events had in common, a customer, a dedupe key, a session, their
pseudonyms have too; nothing that counts is touched.
"""
