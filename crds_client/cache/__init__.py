"""A CRDS cache on disk: its layout, what fills it, and its upkeep."""
