"""A batch as a whole: begun, driven, resumed, and its result."""
