"""FITS: layout, headers, tables and pixels, read and written in place."""
