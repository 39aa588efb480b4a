"""Plans, headers and graphs that are made once for all exposures of a kind."""
