"""Imports from another system's lists: what a line means, and what becomes of it."""
