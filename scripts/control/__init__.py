"""The control API: what operators administer, over HTTP, by secret keys.

`reftide control` serves it, and the console's process can mount `mount.table`. Paths are `/control/v1`, and vendors' own for
their management routes. What an act does is declared in `scripts/services`.
"""
