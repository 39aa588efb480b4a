"""A CRDS cache on disk: its layout, and the files that running clients need."""
