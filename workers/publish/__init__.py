"""Writes the read model into Redis, where edges read it."""
