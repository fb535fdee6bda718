"""Checking: all that is wrong with a guide, found before anything is fitted."""
