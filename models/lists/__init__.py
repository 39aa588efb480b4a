"""Lists of items in models, such as the slits of an exposure: their use, reading and writing."""
