"""Replay: what streams and archive still hold, recorded again. Operators order it.

A replay goes through every shard once: first what the stream retains, then of the archive
what the stream no longer had (`sources`). A page of entries is one transaction (`playing`)
in which rows, counters, the ledger, the replay's counts and its cursor change together, so
that a crash anywhere repeats a page and counts nothing twice. `leases` says who reads where,
`hosting` is the job.

What keeps the books balanced:

- A replay reads beside the consumer groups and appends nothing. An entry keeps its place
  (epoch, shard, id): the stream and the archive both know it, so that recording it later is
  what recording it in time would have been.
- What the recorder was not given yet, or has not acknowledged, is left to it. Everything
  else was settled or is lost: recorded, a repeat, in quarantine, or in no book at all.
- A settled entry is looked up by its place and stays as it is: no second row, no repeat. One
  that is in no book (rows restored from an old backup, entries trimmed unread) goes the way
  of a fresh one, and becomes a row, a repeat or a quarantine: it settles once, in its own
  epoch. Of entries that vanished unread, `lost` falls by as many with the next count of
  losses once the shard is at rest, since that is `added - in flight - settled`; of a life
  that ended likewise, since its losses are `added - settled`. So accepted stays equal to the
  sum, and `verify` finds a row for every retained entry that was acknowledged.
- Reprocessing corrects the row in its place: same event, same entry, same digest. No book
  but the counters changes, and those by the difference. An entry taken out of quarantine is
  one less there and one more recorded, or a repeat.
- Several replays, and replays beside live traffic, meet as two deliveries of one entry do:
  the row is there, or its writer is waited for.
"""
