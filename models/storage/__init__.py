"""Files and objects: where they are, whether they changed, and reading and writing their bytes."""
