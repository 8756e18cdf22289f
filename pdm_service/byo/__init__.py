"""A customer's domain moves to the platform, and back."""
