"""Lazy data models over FITS, defined by YAML schemas."""
