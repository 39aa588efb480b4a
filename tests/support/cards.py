"""Strategies for the keywords and values of header cards."""

from hypothesis import strategies as st

keywords = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-", min_size=1, max_size=8)
short = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80)
edge_cases = ["it's", "", "  a", "a ", "&", "x" * 68, "x" * 69, "x" * 67 + "'", "a/b", "axis: 1.0"]
values = st.booleans() | st.integers() | st.floats() | short | st.sampled_from(edge_cases)
