"""Quarantine, replays, erasures, repair of counters."""
