"""Guides with an independent Gaussian for each member of the leading batch axes.

All sites of the model start with the same batch axes, such as one for each of many data sets that
share no latents. The covariance then has no entries between members, and far fewer params.
"""

import abc
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro import handlers
from numpyro.distributions import constraints
from numpyro.distributions.transforms import ComposeTransform, PermuteTransform, ReshapeTransform

from taut._core.errors import InputError
from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.gaussian import AutoGaussian
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.autoguide.options import check_init_scale, check_rank
from taut.infer.autoguide.param import param
from taut.infer.autoguide.structure import Structure


class AutoBatched(AutoGaussian):
    """A guide with a Gaussian for each member; `AutoGuide` lists what else it takes.

    Args:
        model: a NumPyro model.
        init_scale: standard deviation of each latent coordinate to start from.
        batch_ndim: how many leading axes of each site are batch axes.
        **options: what `AutoGuide` takes.
    """

    batch_ndim: int

    def get_posterior(self, params: dict, *args: Any, **kwargs: Any) -> dist.Distribution:
        """Return the distribution of the latent vector at these params.

        Args:
            params: the fitted parameters.
            *args: the model's arguments; those of the latest fit by default.
            **kwargs: the model's keyword arguments.
        """
        structure = self._recall_for(self._dim(params), args, kwargs).structure
        with handlers.block(), handlers.substitute(substitute_fn=self._given(params)):
            return self._joint(structure, None)

    @abc.abstractmethod
    def _members(self, shape: tuple, size: int, start: Callable | None) -> dist.Distribution:
        """Declare the params and return the members' distributions.

        Args:
            shape: of the batch axes.
            size: latent coordinates of a member.
            start: makes what to start from, (*shape, size), given a key.
        """

    def _get_posterior(self) -> dist.Distribution:
        start = self._init_latent
        return self._joint(self._recall_for(start.size, (), {}).structure, start)

    def _sample_latent(self, bound: BoundModel) -> Any:
        posterior = self._joint(bound.structure, self._start(bound).vector)
        return numpyro.sample(f"_{self.prefix}_latent", posterior, infer={"is_auxiliary": True})

    def _joint(self, structure: Structure, start: Callable | None) -> dist.Distribution:
        shape, places = self._places(structure)

        def member_start(key: Any) -> Any:
            assert start is not None
            return start(key)[places].reshape(*shape, -1)

        members = self._members(shape, places.shape[1], member_start)
        into_vector = ReshapeTransform((structure.dim,), (*shape, places.shape[1]))
        in_order = PermuteTransform(jnp.asarray(np.argsort(places.ravel())))
        return dist.TransformedDistribution(members, ComposeTransform([into_vector, in_order]))

    def _places(self, structure: Structure) -> tuple[tuple, np.ndarray]:
        """Return the batch shape, and each member's places in the latent vector, a row each."""
        shapes = {x.name: x.latent_shape[: self.batch_ndim] for x in structure.latents}
        shape = next(iter(shapes.values()))
        problems = [
            f"site {name!r} starts with batch axes {found}; expected {self.batch_ndim} of them, "
            f"{shape} as in {next(iter(shapes))!r}"
            for name, found in shapes.items()
            if found != shape or len(found) < self.batch_ndim
        ]
        if problems:
            raise InputError(problems)
        count = math.prod(shape)
        rows = [
            latent.offset + np.arange(latent.size).reshape(count, -1)
            for latent in structure.latents
        ]
        return shape, np.concatenate(rows, axis=1)

    def _latent_moments(self, params: dict, args: tuple, kwargs: dict) -> tuple[Any, Any]:
        structure = self._recall_for(self._dim(params), args, kwargs).structure
        shape, places = self._places(structure)
        count, size = places.shape
        with handlers.block(), handlers.substitute(substitute_fn=self._given(params)):
            members: Any = self._members(shape, size, None)
        loc = jnp.zeros(structure.dim).at[places].set(members.mean.reshape(count, size))
        blocks = members.covariance_matrix.reshape(count, size, size)
        empty = jnp.zeros((structure.dim, structure.dim))
        return loc, empty.at[places[:, :, None], places[:, None, :]].set(blocks)


class AutoBatchedMultivariateNormal(AutoBatched):
    """A Gaussian with a full covariance matrix for each member of the batch axes.

    Its params are `auto_loc` (*batch, size) and `auto_scale_tril` (*batch, size, size).

    Args:
        model: a NumPyro model.
        init_scale: standard deviation of each latent coordinate to start from.
        batch_ndim: how many leading axes of each site are batch axes.
        **options: what `AutoGuide` takes.
    """

    scale_tril_constraint = constraints.scaled_unit_lower_cholesky

    def __init__(
        self, model: Callable, *, init_scale: float = 0.1, batch_ndim: int = 1, **options: Any
    ):
        AutoGuide.__init__(self, model, **options)
        self.init_scale = check_init_scale(init_scale)
        self.batch_ndim = batch_ndim

    def _members(self, shape: tuple, size: int, start: Callable | None) -> dist.Distribution:
        loc = param(f"{self.prefix}_loc", start)
        scale_tril = param(
            f"{self.prefix}_scale_tril",
            jnp.broadcast_to(jnp.identity(size) * self.init_scale, (*shape, size, size)),
            constraint=self.scale_tril_constraint,
        )
        return dist.MultivariateNormal(loc, scale_tril=scale_tril)


class AutoBatchedLowRankMultivariateNormal(AutoBatched):
    """A Gaussian with a diagonal plus low-rank covariance for each member of the batch axes.

    Its params are `auto_loc` (*batch, size), `auto_cov_factor` (*batch, size, rank) and
    `auto_scale` (*batch, size); see `AutoLowRankMultivariateNormal`.

    Args:
        model: a NumPyro model.
        init_scale: standard deviation of each latent coordinate to start from.
        rank: columns of the factor; the square root of the size, rounded, by default.
        batch_ndim: how many leading axes of each site are batch axes.
        **options: what `AutoGuide` takes.
    """

    scale_constraint = constraints.softplus_positive

    def __init__(
        self,
        model: Callable,
        *,
        init_scale: float = 0.1,
        rank: int | None = None,
        batch_ndim: int = 1,
        **options: Any,
    ):
        AutoGuide.__init__(self, model, **options)
        self.init_scale = check_init_scale(init_scale)
        self.rank = check_rank(rank)
        self.batch_ndim = batch_ndim

    def _members(self, shape: tuple, size: int, start: Callable | None) -> dist.Distribution:
        rank = round(size**0.5) if self.rank is None else self.rank
        loc = param(f"{self.prefix}_loc", start)
        factor = param(f"{self.prefix}_cov_factor", jnp.zeros((*shape, size, rank)))
        scale = param(
            f"{self.prefix}_scale",
            jnp.full((*shape, size), self.init_scale),
            constraint=self.scale_constraint,
        )
        return dist.LowRankMultivariateNormal(loc, factor * scale[..., None], scale**2)
