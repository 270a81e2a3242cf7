"""The schema, partitions, pauses, and the demo workspace."""
