"""The result of a fit as users hold it, and its file."""
