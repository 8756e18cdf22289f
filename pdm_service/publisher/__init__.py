"""DNS is made equal to what the store wants."""
