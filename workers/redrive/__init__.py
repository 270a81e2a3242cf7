"""Redrive: records entries of quarantine again, automatically or at an operator's request.

All state is in PostgreSQL, so a lost queue or a killed worker costs seconds. An entry is
*marked* (`redrive_at`) by an operator, or when what it waits for was created. Marked entries
are *leased* a page at a time (`marks`) and go through the pipeline (`page`).
Rows, counters, status and ledger change in one transaction, in which the entry is locked and
must still be open. So concurrent attempts record an entry once, and a crash changes nothing.

Nothing is appended to a stream. The entry keeps its place and the event its id and time, so
recording it late equals recording it in time. In the ledger it moves from quarantine to
recorded or repeats. An entry that is refused again stays, with the new reason.

No wake-up is missed. The publisher sees every change and notes those that entries wait for.
An entry that it could not see yet was committed after the change, and every entry is checked
once after its commit (`look_at`). A change during an attempt marks the entry again, and the
end of the attempt keeps that mark. Recorded clicks are not published: entries that wait for
one are polled, less often the longer they have waited.
"""
