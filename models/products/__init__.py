"""The HDUs of models' files."""
