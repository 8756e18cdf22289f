"""How far a delegation has come, found out by asking from the root down."""
