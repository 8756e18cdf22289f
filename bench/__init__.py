"""What the service costs, measured against what it stands on: `python -m bench`."""
