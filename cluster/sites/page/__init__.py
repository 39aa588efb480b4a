"""The page about batches: on the dashboard of a dask scheduler, or in the driver's process."""
