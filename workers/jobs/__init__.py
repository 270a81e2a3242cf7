"""Background work: arq, its schedule, and the archive's service.

Only `workers.main` imports it.
"""
