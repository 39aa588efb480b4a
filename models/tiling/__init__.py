"""Plans of calibrations, and the dask graphs that run them tile by tile."""
