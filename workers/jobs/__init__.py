"""What runs by the clock: arq, its schedule, and the service that writes the archive.

Only `workers.main` imports it.
"""
