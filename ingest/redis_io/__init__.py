"""Clients of Redis with bounded waits, and one connection for many requests.

Adapters import it; the core does not.
"""
