"""Planning: from input files to exposures with parameters, references and identity."""
