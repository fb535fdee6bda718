"""Guides that sample each of the model's sites by itself, under its own name and plates."""

import abc
import contextlib
import dataclasses
from typing import Any

import numpyro

from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.autoguide.start import Start
from taut.infer.autoguide.structure import Latent


class AutoSites(AutoGuide):
    """A guide that samples site by site; `AutoGuide` lists what it takes."""

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the guide as a NumPyro program."""
        args, kwargs = self._chosen(args, kwargs)
        bound = self._bind(args, kwargs)
        start = self._start(bound)
        plates = self._plates(bound, args, kwargs)
        indices = {name: _indices(plate) for name, plate in plates.items()}
        result: dict[str, Any] = {}
        for latent in bound.structure.latents:
            support = bound.support(latent, result, indices)
            with contextlib.ExitStack() as stack:
                for frame in latent.frames:
                    stack.enter_context(plates[frame.name])
                result[latent.name] = self._sample(latent, support, start)
        return result

    @abc.abstractmethod
    def _sample(self, latent: Latent, support: Any, start: Start) -> Any:
        """Declare a site's params and sample it, inside its plates."""

    def _loc_name(self, latent: Latent) -> str:
        return f"{latent.name}_{self.prefix}_loc"

    def _recall_fitted(self, params: dict, args: tuple, kwargs: dict) -> BoundModel:
        """Bind arguments, with those latent sites that the params are for."""
        bound = self._recall(args, kwargs)
        latents = bound.structure.latents
        fitted = tuple(latent for latent in latents if self._loc_name(latent) in params)
        if len(fitted) == len(latents):
            return bound
        if not (args or kwargs) or not fitted:
            for latent in latents:
                self._lookup(params, self._loc_name(latent))
        # A model called without its observations has more latent sites: predictions.
        structure = dataclasses.replace(bound.structure, latents=fitted)
        return dataclasses.replace(bound, structure=structure)


def _indices(plate: numpyro.plate) -> Any:
    with plate as indices:
        return indices
