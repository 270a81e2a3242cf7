"""Programs, partners, links and keys."""
