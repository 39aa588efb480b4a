"""Progress of batches and downloads, for terminals, notebooks and logs."""
