"""Files and objects: their locations, their identity, and access to their bytes."""
