"""decode → resolve → enrich → write: one batch of stream entries after the other.

The consumer, redrive and replay import it.
"""
