"""Servers, processes and pairs of runs for every measurement."""
