"""Replay: records again what streams and archive still hold, at an operator's request.

A replay reads every shard once: the retained stream, then the archive for what the stream no
longer has (`sources`). It skips what is recorded as it was read (`skip`). What is left of a
page is one transaction (`page`) that changes rows, counters, the ledger, the replay's counts
and its cursor together, so that a crash repeats a page and counts nothing twice. `leases`
assigns shards to workers, `job` is the arq job.

Why the ledger stays balanced:

- A replay is no consumer of the group and appends nothing. Stream and archive both know an
  entry's place (epoch, shard, id), so recording it late equals recording it in time.
- Entries that the group has not been given, or has not acknowledged, are left to it. All
  others are accounted for (recorded, a repeat, in quarantine) or missing.
- An accounted entry stays as it is: no second row, no repeat. A missing one (rows restored
  from an old backup, entries trimmed unread) is recorded like a new one, in its own epoch.
  `lost` falls with the next count of losses, since it is `added - in flight - accounted`, and
  for an ended epoch `added - accounted`.
- Reprocessing corrects a row in place: same event, entry and digest. Only counters change, by
  the difference. An entry taken out of quarantine is one less there, and one more recorded or
  repeated.
- Concurrent replays, and replays beside live traffic, meet as two deliveries of one entry do:
  the row exists already, or its writer is waited for.
"""
