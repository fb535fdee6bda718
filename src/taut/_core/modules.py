"""Immutable records that JAX can flatten.

A module is a frozen dataclass whose array fields are the leaves of a pytree; the fields named as
static are part of the tree's structure. Equinox offers the same with more comfort, but importing it
takes a third of the time of a whole small fit.
"""

import dataclasses
from typing import dataclass_transform

import jax


@dataclass_transform(frozen_default=True)
def module(static: tuple[str, ...] = ()):
    """Make a class an immutable pytree whose fields outside `static` are leaves."""

    def decorate(cls):
        cls = dataclasses.dataclass(frozen=True, eq=False)(cls)
        names = [field.name for field in dataclasses.fields(cls)]
        return jax.tree_util.register_dataclass(
            cls, data_fields=[n for n in names if n not in static], meta_fields=list(static)
        )

    return decorate
