"""Report: what people look at once a fit is there: tables, text, notebook HTML, plots, ArviZ.

Nothing here computes a result. Every function takes plain arrays, or a `Fitted` (see `fitted.py`),
and returns something to read.
"""
