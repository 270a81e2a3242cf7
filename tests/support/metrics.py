"""What a process would show of a metric."""

from prometheus_client import CollectorRegistry


def shown(registry: CollectorRegistry, name: str, **labels: object) -> float:
    """The present value; 0 of what was never counted."""
    texts = {label: str(value) for label, value in labels.items()}
    return registry.get_sample_value(name, texts) or 0.0
