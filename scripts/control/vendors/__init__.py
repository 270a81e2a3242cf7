"""Vendors' management routes, at the vendors' own paths and in their words.

What changes what a link does and what we cannot do is refused; all other fields that we do not
know are passed over.
"""
