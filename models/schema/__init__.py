"""Schemas: the metadata, arrays and tables that a kind of file has."""
