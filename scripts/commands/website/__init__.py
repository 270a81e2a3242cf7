"""Commands for people who have a website."""
