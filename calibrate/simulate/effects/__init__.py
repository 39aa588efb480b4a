"""Effects that a simulated exposure suffers."""
