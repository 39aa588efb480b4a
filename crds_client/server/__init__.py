"""The CRDS server and caches at URLs."""
