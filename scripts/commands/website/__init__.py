"""Commands for whoever has a website."""
