"""Redrive: entries in quarantine put back, by themselves or because an operator asked.

Everything stands in Postgres, so a lost queue or a killed worker costs seconds. An entry is
*marked* when it is to be tried (`redrive_at`): by an operator's request, or because what it
waits for came (`looking`). A page of marked entries is *taken* under a lease (`marks`), and
goes through the stages of the pipeline (`redriving`): its rows, counters, status and the
ledger change in one transaction, in which the entry is locked and must still be open. So of
several that try at once one puts it back, and what dies before the commit changed nothing.

Nothing is appended to a stream. The entry keeps its place, and the event its id and its time:
recorded late, it is what it would have been in time. In the ledger it is one less in
quarantine and one more recorded, or a repeat. What is refused again stays, with the reason
of this attempt.

How a wake is never missed: the publisher sees every change and notes those that somebody
waits for. An entry that it could not see yet was committed after the change, and every entry
is looked at once after its commit (`look_at`). A change that comes while an entry is being
tried marks it anew, which the end of that attempt leaves standing. Of recorded clicks nobody
tells: what waits for one is looked at again and again, less often the longer it has waited.
"""
