"""Trace contexts and spans. Without the extra `otel`, `spans` cannot be imported."""
