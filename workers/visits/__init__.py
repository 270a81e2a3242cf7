"""Duplicate clicks: which clicks repeat one of the same visitor on the same link.

Of a visitor's clicks on a link, in the order of event time and id, the first opens a window
of one hour. The clicks in it are duplicates; the first click after it opens the next window.
So the flags are a function of the set of rows, whatever the order of arrival. `windows` has
the rule and does no I/O; `visits` keeps the windows in PostgreSQL, under locks.
"""
