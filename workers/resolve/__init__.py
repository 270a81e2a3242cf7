"""From what an envelope names to the link, partner and program it belongs to."""
