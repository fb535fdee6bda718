"""`AutoDelta`: a point, for the maximum of the posterior density in the model's coordinates."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from numpyro.infer.initialization import init_to_median

from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.param import param
from taut.infer.autoguide.sites import AutoSites
from taut.infer.autoguide.start import Start
from taut.infer.autoguide.structure import Latent
from taut.targets.bijection import latent_bijection


class AutoDelta(AutoSites):
    """A point, for the maximum of the posterior density in the model's coordinates.

    Its params are `x_auto_loc` for a site x, in the shape and support of the site. Where the
    support depends on data or on other latents, a constraint would be that of the first step for
    ever: such a site has a param `x_auto_unconstrained_loc` instead, which is carried to the
    support as it is at each step.

    Args:
        model: a NumPyro model.
        init_loc_fn: where to start.
        **options: what `AutoGuide` takes.
    """

    def __init__(self, model: Callable, *, init_loc_fn: Callable = init_to_median, **options: Any):
        super().__init__(model, init_loc_fn=init_loc_fn, **options)

    def sample_posterior(
        self, rng_key: Any, params: dict, *args: Any, sample_shape: tuple = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Return the point, repeated."""
        point = self._whole_point(params, args, kwargs)
        return {
            name: jnp.broadcast_to(value, (*sample_shape, *jnp.shape(value)))
            for name, value in point.items()
        }

    def median(self, params: dict, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the point: the value of each latent site, and of no other, as in NumPyro.

        So it can be substituted in the model, for other data or to differentiate the density.
        """
        point = self._whole_point(params, args, kwargs)
        return {n: point[n] for n in self._recall((), {}).structure.names}

    def _whole_point(self, params: dict, args: tuple, kwargs: dict) -> dict[str, Any]:
        """Return the value of each latent and deterministic site."""
        bound = self._recall_fitted(params, args, kwargs)
        empty = bound.without_data()

        def run(own: dict, given: dict, leaves: Any) -> dict[str, Any]:
            return self._point(empty.with_data(leaves), own, given)

        own = {n: params[n] for n in map(self._loc_name, bound.structure.latents)}
        given = self._model_params(bound.structure, params)
        key = ("point", bound.arguments.key(), tuple(own))
        return self._compile(key, run)(own, given, bound.arguments.leaves)

    def quantiles(self, params: dict, quantiles: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the point, for each quantile."""
        shape = jnp.shape(jnp.asarray(quantiles))
        point = self._whole_point(params, args, kwargs)
        return {n: jnp.broadcast_to(v, (*shape, *jnp.shape(v))) for n, v in point.items()}

    def covariance(self, params: dict, *names: str) -> Any:
        """Return zeros: a point does not vary."""
        point = self._whole_point(params, (), {})
        names = names or self._recall((), {}).structure.names
        self._check_names(names, point)
        size = sum(int(jnp.size(point[name])) for name in names)
        return jnp.zeros((size, size))

    def _point(self, bound: BoundModel, own: dict, given: dict) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for latent in bound.structure.latents:
            value = own[self._loc_name(latent)]
            if latent.support is None:
                support = bound.support(latent, values, given, whole=True)
                value = latent_bijection(support)(value)
            values[latent.name] = value
        return {**values, **bound.deterministics(values, given, whole=True)}

    def _sample(self, latent: Latent, support: Any, start: Start) -> Any:
        transform = latent_bijection(support)
        if latent.support is not None:
            first = start.of_site(latent)
            loc = param(
                self._loc_name(latent),
                (lambda key: transform(first(key))) if callable(first) else transform(first),
                constraint=support,
                event_dim=latent.event_dim,
            )
        else:
            loc = transform(
                param(
                    self._loc_name(latent),
                    start.of_site(latent),
                    event_dim=latent.latent_event_dim,
                )
            )
        return numpyro.sample(latent.name, dist.Delta(loc).to_event(latent.event_dim))

    def _loc_name(self, latent: Latent) -> str:
        if latent.support is not None:
            return super()._loc_name(latent)
        return f"{latent.name}_{self.prefix}_unconstrained_loc"
