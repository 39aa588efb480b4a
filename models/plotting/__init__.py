"""Plots of models. matplotlib is imported when something is drawn."""
