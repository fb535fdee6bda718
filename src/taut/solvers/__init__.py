"""Solvers: each improves a guide by one step and leaves the decision to stop to the loop."""
