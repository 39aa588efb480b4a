"""Slurm: workers and drivers as jobs."""
