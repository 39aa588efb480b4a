"""The language of CRDS rules: mappings are parsed as data and applied to headers."""
