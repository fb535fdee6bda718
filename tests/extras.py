"""Libraries that only some users install: without one its tests are skipped, but never in CI."""

import importlib
import os

import pytest


def needs(*modules):
    """Import what a test needs, or skip the test."""
    for module in modules:
        if os.environ.get("CI"):
            importlib.import_module(module)
        else:
            pytest.importorskip(module)
