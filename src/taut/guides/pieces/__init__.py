"""Pieces that guide programs are written with; every one has a log density and draws."""
