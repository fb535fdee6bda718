"""Objectives: what a guide is fitted by, and the statistics its solvers need."""
