"""Who may do what and how fast: workspaces, domains, API keys, switches, limits."""
