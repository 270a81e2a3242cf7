"""Redirects and the pixel: `/r/{code}`, `/{code}` on a domain of ours, `/p/{code}.gif`.

Only the composition root imports this folder; commands know its rules of codes and of
destinations.
"""
