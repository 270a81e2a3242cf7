"""Facets: what counted by country, device and the like, made anew from the rows of a bucket.

A bucket has the events whose ids are of its day. Batches mark it, a job makes it anew.
Detaching a month makes its last buckets before the rows go.
"""
