"""Effects that disturb a simulated exposure."""
