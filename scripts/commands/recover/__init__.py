"""Commands for what went wrong, and for privacy."""
