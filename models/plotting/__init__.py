"""Plots of models, for which matplotlib is needed (extra ``plot``)."""
