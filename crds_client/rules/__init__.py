"""The rules language: mappings parsed as data and applied to headers."""
