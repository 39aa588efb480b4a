"""Sphinx configuration: ``sphinx-build -W docs docs/_build``."""

from calbatch import __version__

project = "calbatch"
author = "The calbatch developers"
copyright = "2026, the calbatch developers"
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "calbatch"

myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "py:obj"
