"""Finds events and customers by what people know of them, and sums up what links brought."""
