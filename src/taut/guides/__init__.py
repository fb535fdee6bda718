"""Guides: the distributions that are fitted to a posterior."""
