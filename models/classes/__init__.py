"""Model classes of products and of reference files; each names its schema."""
