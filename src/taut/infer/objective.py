"""What the objectives share: particles, their average, and the score terms added to it.

An objective is asked for `loss(key, params, model, guide, *args, **kwargs)`, as in NumPyro. Its
value is the estimate of minus the bound; its gradient in `params` is an unbiased estimate of the
gradient of the bound (of its estimate's mean, for Rényi's), whatever distributions the guide holds.
"""

import abc
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from taut._core.errors import InputError
from taut._core.modules import module
from taut._core.retraced import retraced
from taut._core.straight import straight
from taut.infer.score import score_surrogate
from taut.infer.traces import Pair


@module()
class Particle:
    """What one draw contributes.

    Attributes:
        elbo: log p - log q, a scalar; or a dict of its parts by site.
        score: from `taut.infer.score.scores`.
        cost: what each score is weighed by.
        mutable: new values of mutable sites, or None.
    """

    elbo: Any
    score: dict[str, Any]
    cost: dict[str, Any]
    mutable: Any


class ELBO:
    """A loss to be minimised: minus an estimate of a lower bound on the log evidence.

    Args:
        num_particles: draws of the guide per estimate.
        vectorize_particles: True computes them together (`jax.vmap`), False one after another
            (`jax.lax.map`); a callable `(function, keys)` does as it likes.
    """

    can_infer_discrete = True

    def __init__(
        self, num_particles: int = 1, vectorize_particles: bool | Callable[..., Any] = True
    ):
        if num_particles < 1:
            raise InputError(f"num_particles must be at least 1; got {num_particles}")
        if not (isinstance(vectorize_particles, bool) or callable(vectorize_particles)):
            raise InputError(
                f"vectorize_particles must be True, False or callable; got {vectorize_particles!r}"
            )
        self.num_particles = num_particles
        self.vectorize_particles = vectorize_particles

    def loss(
        self,
        rng_key: Any,
        param_map: dict[str, Any],
        model: Callable,
        guide: Callable,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Estimate minus the bound; a scalar (a dict by site with `sum_sites=False`).

        Args:
            rng_key: a JAX random key.
            param_map: constrained values of the `numpyro.param` sites.
            model: a NumPyro model.
            guide: a NumPyro guide.
            *args: arguments of both.
            **kwargs: keyword arguments of both.

        Raises:
            InputError: model and guide do not fit together.
        """
        result = self.loss_with_mutable_state(rng_key, param_map, model, guide, *args, **kwargs)
        return result["loss"]

    def loss_with_mutable_state(
        self,
        rng_key: Any,
        param_map: dict[str, Any],
        model: Callable,
        guide: Callable,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Estimate the loss, and return the new values of the `numpyro.mutable` sites with it.

        Arguments are those of `loss`.

        Returns:
            A dict of "loss" and "mutable_state"; the latter is None without mutable sites, and
            with more than one particle, each of which would leave values of its own.

        Raises:
            NotImplementedError: the objective has no place for mutable sites.
        """
        raise NotImplementedError(
            f"{type(self).__name__} does not support mutable sites; use Trace_ELBO"
        )

    def _map_particles(self, function: Callable[[Any], Any], keys: Any) -> Any:
        how = self.vectorize_particles
        if callable(how):
            return how(function, keys)
        return jax.vmap(retraced(function, straight))(keys) if how else jax.lax.map(function, keys)


class AverageELBO(ELBO, abc.ABC):
    """A loss that is the mean over particles of log q - log p, with score terms where needed."""

    def loss_with_mutable_state(
        self,
        rng_key: Any,
        param_map: dict[str, Any],
        model: Callable,
        guide: Callable,
        *args: Any,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Estimate the loss and return new mutable values, as every objective does."""
        pair = Pair(model, guide, args, kwargs)

        def particle(key: Any) -> Particle:
            return self._particle(key, param_map, pair)

        if self.num_particles == 1:
            one = particle(rng_key)
            particles = jax.tree.map(lambda x: jnp.asarray(x)[None], (one.score, one.cost))
            elbo, mutable = one.elbo, one.mutable
        else:
            keys = jax.random.split(rng_key, self.num_particles)
            many = self._map_particles(particle, keys)
            particles = (many.score, many.cost)
            elbo, mutable = jax.tree.map(lambda x: jnp.mean(x, axis=0), many.elbo), None
            if many.mutable is not None:
                warnings.warn(
                    "mutable sites keep their values: with num_particles > 1 each particle would "
                    "leave its own",
                    stacklevel=2,
                )
        if isinstance(elbo, dict):
            return {"loss": jax.tree.map(jnp.negative, elbo), "mutable_state": mutable}
        if particles[0]:
            elbo = elbo + score_surrogate(*particles)
        return {"loss": -elbo, "mutable_state": mutable}

    @abc.abstractmethod
    def _particle(self, key: Any, params: dict[str, Any], pair: Pair) -> Particle:
        """Compute one draw's contribution."""
