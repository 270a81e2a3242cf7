"""Commands for workspaces, programs, partners, links, keys, switches, limits."""
