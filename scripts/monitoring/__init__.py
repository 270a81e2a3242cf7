"""What monitors an installation: alert rules with their tests for Prometheus, a board for Grafana."""
