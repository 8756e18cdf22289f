"""What the service reports of itself: logs, metrics, traces. Nothing in them names a customer's secret."""
