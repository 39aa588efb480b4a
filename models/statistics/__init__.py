"""Statistics and quick-looks of products, gathered from the tiles as these are written."""
