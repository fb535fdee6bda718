"""Fitting, from a model to a result: the stages put together."""
