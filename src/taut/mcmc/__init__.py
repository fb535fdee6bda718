"""NumPyro's NUTS on a target, for comparison."""
