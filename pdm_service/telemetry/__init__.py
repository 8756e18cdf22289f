"""What the service tells of itself: logs, metrics, traces. Nothing in them names a customer's secret."""
