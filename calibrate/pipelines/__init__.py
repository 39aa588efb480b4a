"""Pipelines, one module each."""
