"""Whole batches: registering, driving and resuming them, and their results."""
