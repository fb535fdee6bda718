"""Diagnostics: numbers about a fit and what they mean."""
