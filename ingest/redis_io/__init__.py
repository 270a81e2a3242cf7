"""Clients of Redis with bounded waits, and one connection for many questions.

Adapters import it; the core does not.
"""
