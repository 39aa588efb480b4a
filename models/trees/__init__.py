"""Models of files that hold a tree instead of arrays: references in ASDF and JSON."""
