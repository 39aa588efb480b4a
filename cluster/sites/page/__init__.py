"""The calbatch page on the dashboard of a dask scheduler."""
