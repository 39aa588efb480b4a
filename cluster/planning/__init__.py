"""From inputs to planned exposures: headers, references, identity, earlier work."""
