"""Guides on the latent vector: one distribution on R^dim, carried to the model's sites.

Such a guide samples the latent vector as an auxiliary site, and sets each site of the model by a
`Delta` at its value whose log density is minus the log Jacobian: the density of the sites is then
that of the latent vector, in the model's own coordinates.

Source: Kucukelbir, Tran, Ranganath, Gelman, Blei, "Automatic Differentiation Variational
Inference", 2017.
"""

import abc
import dataclasses
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from taut._core.errors import InputError, UnsupportedError
from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.autoguide.structure import Structure

LOCAL_LATENTS = (
    "a guide on one latent vector has no place for local latent variables: site {name!r} in the "
    "subsampled plate {plate!r} has other values in every subsample; use AutoNormal, AutoDelta or "
    "AutoSemiDAIS"
)


class AutoLatentVector(AutoGuide):
    """A guide whose draws are vectors of R^dim; `AutoGuide` lists what it takes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the guide as a NumPyro program."""
        bound = self._bind(*self._chosen(args, kwargs))
        latent = self._sample_latent(bound)
        bound = self._for_dim(bound, jnp.shape(latent)[-1])
        result = {}
        for name, placed in bound.place(bound.structure.split(latent)).items():
            event_dim = jnp.ndim(placed.value) - jnp.ndim(placed.log_jacobian)
            delta = dist.Delta(placed.value, -placed.log_jacobian, event_dim=event_dim)
            result[name] = numpyro.sample(name, delta)
        return result

    @property
    def latent_dim(self) -> int:
        """Length of the latent vector, for the arguments of the latest fit."""
        return self._layout.dim

    @property
    def _layout(self) -> Structure:
        return self._fitted or self._recall((), {}).structure

    @abc.abstractmethod
    def _sample_latent(self, bound: BoundModel) -> Any:
        """Declare the params and sample the latent vector (dim,)."""

    def _read(self, args: tuple, kwargs: dict) -> BoundModel:
        bound = super()._read(args, kwargs)
        if not bound.structure.latents:
            raise UnsupportedError(
                f"{type(self).__name__} found no latent variables in the model; use an empty "
                "function as the guide: def guide(*args, **kwargs): pass"
            )
        problems = [
            LOCAL_LATENTS.format(name=latent.name, plate=frame.name)
            for latent in bound.structure.latents
            for frame in latent.frames
            if frame.subsampled
        ]
        if problems:
            raise InputError(problems)
        return bound

    def _values(self, latent: Any, params: dict, args: tuple, kwargs: dict) -> dict[str, Any]:
        """Return the sites' values at latent vectors (..., dim)."""
        latent = jnp.asarray(latent)
        bound = self._recall_for(latent.shape[-1], args, kwargs)
        parts = bound.structure.split(latent)
        return self._constrain(bound, parts, latent.shape[:-1], params)

    def _recall_for(self, dim: int, args: tuple, kwargs: dict) -> BoundModel:
        """Bind arguments, laid out for latent vectors of a given length."""
        return self._for_dim(self._recall(args, kwargs), dim)

    def _for_dim(self, bound: BoundModel, dim: int) -> BoundModel:
        """Lay out a model for latent vectors of a given length."""
        if bound.structure.dim == dim:
            return bound
        fitted = self._fitted
        if fitted is not None and fitted.dim == dim:
            return dataclasses.replace(bound, structure=fitted)
        raise InputError(
            f"the params are for {dim} latent coordinates, but with these arguments the model has "
            f"{bound.structure.dim}; pass the arguments that the guide was fitted with"
        )
