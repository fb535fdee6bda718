"""Targets: unnormalised log densities on R^dim, and the way back to a model's own variables."""
