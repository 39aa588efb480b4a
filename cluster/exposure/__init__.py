"""Calibrating one exposure: its job, outcome and log, and the retry policy."""
