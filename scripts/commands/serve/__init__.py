"""Commands that become, or run, one service."""
