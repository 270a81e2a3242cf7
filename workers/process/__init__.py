"""The worker as a process: start, signals, admin port, checks, stop.

Only `workers.main` imports it.
"""
