"""Entries that cannot be recorded: kept with the reason, within limits."""
