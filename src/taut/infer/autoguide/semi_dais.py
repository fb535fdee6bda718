"""`AutoSemiDAIS`: a guide for the global sites, annealing for those inside a subsampled plate.

Each member of the plate has a Gaussian of its own, or a draw from a guide for the members, which is
carried towards its conditional posterior given the global sites. The bound is a sum over members,
so the plate can be subsampled.

Sources: Jankowiak, Phan, "Surrogate Likelihoods for Variational Annealed Importance Sampling",
2022; Geffner, Domke, "Variational Inference with Locally Enhanced Bounds for Hierarchical Models",
2022.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax import lax, random
from numpyro import handlers
from numpyro.distributions import constraints

from taut._core.errors import InputError
from taut.infer.autoguide.annealing import AnnealingOptions, anneal, declare_dynamics
from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.guide import CHUNK, AutoGuide
from taut.infer.autoguide.members import Members, find_members
from taut.infer.autoguide.options import check_init_scale
from taut.infer.autoguide.param import model_params, param
from taut.infer.autoguide.structure import read_structure
from taut.targets.arguments import bind_arguments


class AutoSemiDAIS(AutoGuide):
    """A guide for the global sites, annealing for those inside a subsampled plate.

    Args:
        model: a NumPyro model, the local model called with what the global one returns.
        local_model: the part of the model with the sites inside the plate.
        global_guide: a guide for the other sites, with the global model as its attribute `model`;
            None where there are none.
        local_guide: a guide for the sites inside the plate, to anneal from instead of Gaussians.
        K: number of steps.
        eta_init: step size to start from.
        eta_max: the largest step size.
        gamma_init: share of the momentum that a step keeps, to start from.
        init_scale: standard deviation of the Gaussians to start from.
        subsample_plate: name of the plate; that which is subsampled, or the only one, by default.
        use_global_dais_params: whether the members share the params of the dynamics.
        **options: what `AutoGuide` takes.
    """

    needs_data = True

    def __init__(
        self,
        model: Callable,
        local_model: Callable,
        global_guide: Any = None,
        local_guide: Callable | None = None,
        *,
        K: int = 4,
        eta_init: float = 0.01,
        eta_max: float = 0.1,
        gamma_init: float = 0.9,
        init_scale: float = 0.1,
        subsample_plate: str | None = None,
        use_global_dais_params: bool = False,
        **options: Any,
    ):
        super().__init__(model, **options)
        if global_guide is not None and not hasattr(global_guide, "model"):
            raise InputError(
                "global_guide must have the global model as its attribute 'model', as autoguides do"
            )
        self.local_model = local_model
        self.global_guide = global_guide
        self.local_guide = local_guide
        self.annealing = AnnealingOptions(K, eta_init, eta_max, gamma_init)
        self.init_scale = check_init_scale(init_scale)
        self.subsample_plate = subsample_plate
        self.use_global_dais_params = use_global_dais_params

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the guide as a NumPyro program."""
        args, kwargs = self._chosen(args, kwargs)
        drawn = self._sample(*self._followed(self._bind(args, kwargs), args, kwargs))
        result = dict(drawn.globals)
        for name, placed in drawn.local.place(drawn.parts, drawn.indices).items():
            event_dim = jnp.ndim(placed.value) - jnp.ndim(placed.log_jacobian)
            # Outside the plate, which would have scaled it.
            log_density = -drawn.members.weight * placed.log_jacobian
            delta = dist.Delta(placed.value, log_density, event_dim=event_dim)
            result[name] = numpyro.sample(name, delta)
        return result

    def sample_posterior(
        self, rng_key: Any, params: dict, *args: Any, sample_shape: tuple = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Draw from the guide.

        The members drawn are those of one random subsample for each draw. To choose them, call this
        inside `handlers.substitute(data={plate: indices})`.
        """
        bound = self._recall(args, kwargs)
        args, kwargs = self._followed(bound, *self._chosen(args, kwargs))

        def draw(key: Any) -> dict[str, Any]:
            guide = handlers.substitute(self._sample, substitute_fn=self._given(params))
            # Plates are seen from outside, so that the caller can choose the members.
            with handlers.block(hide_fn=lambda site: site["type"] != "plate"):
                drawn: Any = handlers.seed(guide, key)(args, kwargs)
            placed = drawn.local.place(drawn.parts, drawn.indices)
            values = drawn.globals | {name: made.value for name, made in placed.items()}
            given = {**self._model_params(bound.structure, params), **drawn.indices}
            return values | bound.deterministics(values, given)

        if not sample_shape:
            return draw(rng_key)
        keys = random.split(rng_key, int(np.prod(sample_shape, dtype=int)))
        values = lax.map(draw, keys, batch_size=CHUNK)
        return {n: jnp.reshape(v, (*sample_shape, *jnp.shape(v)[1:])) for n, v in values.items()}

    def _followed(self, bound: BoundModel, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Return arguments with data, whose density the members can follow."""
        return self._of_fit(bound) if bound.structure.predicted else (args, kwargs)

    def _sample(self, args: tuple, kwargs: dict) -> "Drawn":
        global_values: dict[str, Any] = {}
        if self.global_guide is not None:
            global_values = self.global_guide(*args, **kwargs)
            with handlers.block(), handlers.seed(rng_seed=0):
                chosen = handlers.substitute(self.global_guide.model, data=global_values)
                args, kwargs = (chosen(*args, **kwargs),), {}
        local = _bind_part(self.local_model, args, kwargs)
        members = find_members(local.structure, self.subsample_plate)
        guide = None
        if self.local_guide is not None:
            guide = _bind_part(self.local_guide, args, kwargs)
        given, base_given = model_params(local), {} if guide is None else model_params(guide)
        with numpyro.plate(members.plate, members.full_size, members.size) as indices:
            subsample = {members.plate: indices}
            shared = () if self.use_global_dais_params else (members.full_size,)
            dynamics = declare_dynamics(self.prefix, self.annealing, members.dim, shared)
            if guide is None:
                z, base_log_prob = self._gaussian_base(members)
            else:
                z, base_log_prob = self._guide_base(members, guide, {**base_given, **subsample})
            # Steps last here and first in `anneal`.
            scale = jnp.broadcast_to(dynamics.mass, z.shape)[..., None]
            momentum = dist.Normal(0.0, scale).expand((*z.shape, self.annealing.steps))
            momenta = numpyro.sample(
                f"{self.prefix}_momentum",
                momentum.to_event(2).mask(False),
                infer={"is_auxiliary": True},
            )

            def log_density(z: Any) -> Any:
                parts = members.split(z)
                return local.log_density(parts, {**given, **subsample}) / members.weight

            moved, log_factor = anneal(
                dynamics,
                z,
                jnp.moveaxis(momenta, -1, 0),
                jax.grad(base_log_prob),
                jax.grad(log_density),
            )
            numpyro.factor(f"{self.prefix}_local_dais_factor", log_factor)
        return Drawn(global_values, local, members, members.split(moved), subsample)

    def _gaussian_base(self, members: Members) -> tuple[Any, Callable]:
        shape = (members.full_size, members.dim)
        loc = param(f"{self.prefix}_z_0_loc", jnp.zeros(shape), event_dim=1)
        scale = param(
            f"{self.prefix}_z_0_scale",
            jnp.full(shape, self.init_scale),
            constraint=constraints.positive,
            event_dim=1,
        )
        base = dist.Normal(loc, scale).to_event(1)
        z = numpyro.sample(f"{self.prefix}_z_0", base, infer={"is_auxiliary": True})
        return z, lambda z: base.log_prob(z).sum()

    def _guide_base(self, members: Members, guide: BoundModel, given: dict) -> tuple[Any, Callable]:
        parts = guide.unconstrained(lambda message: None, numpyro.prng_key(), given)
        z = members.join(parts)

        def log_prob(z: Any) -> Any:
            return guide.log_density(members.split(z), given) / members.weight

        # The plate repeats the factor for each member.
        numpyro.factor(f"{self.prefix}_z_0_factor", log_prob(z) / members.size)
        return z, log_prob


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One draw of the guide.

    Attributes:
        globals: values of the global sites.
        local: the local model, given them.
        members: the plate's members.
        parts: unconstrained images of the local sites.
        indices: which members were drawn, by the plate's name.
    """

    globals: dict[str, Any]
    local: BoundModel
    members: Members
    parts: dict[str, Any]
    indices: dict[str, Any]


def _bind_part(model: Callable, args: tuple, kwargs: dict) -> BoundModel:
    structure, arguments = read_structure(model, bind_arguments(model, args, kwargs))
    return BoundModel(model, arguments, structure)
