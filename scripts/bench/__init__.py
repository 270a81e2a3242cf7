"""Measurements: Reftide and a baseline in turn, on servers of their own.

A measurement starts embedded servers in a temporary directory, with every fsync on, and
leaves nothing behind.
"""
