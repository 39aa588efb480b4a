"""Reference files by CRDS rules: the rules, the cache, the fetcher."""
