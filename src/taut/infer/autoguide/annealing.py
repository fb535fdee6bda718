"""Uncorrected Hamiltonian annealing: from a base distribution towards a target, differentiably.

Each of K steps moves with the gradient of a density between base and target, half a step with the
momentum before, half after, then refreshes part of the momentum. Nothing is accepted or rejected,
so draws are smooth functions of all parameters. The density of the path, forwards over backwards,
is that of the base point times exp(log_factor).

The mass is also the standard deviation of the momenta; half of its inverse turns momenta into
velocities.

Sources: Geffner, Domke, "MCMC Variational Inference via Uncorrected Hamiltonian Annealing", 2021;
Zhang, Hsu, Li, Finn, Grosse, "Differentiable Annealed Importance Sampling and the Perils of
Gradient Noise", 2021.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax
from numpyro.distributions import constraints

from taut._core.errors import InputError
from taut.infer.autoguide.param import param


@dataclasses.dataclass(frozen=True)
class AnnealingOptions:
    """Choices of an annealed guide.

    Attributes:
        steps: number of steps, K.
        eta_init: step size to start from.
        eta_max: the largest step size.
        gamma_init: share of the momentum that a step keeps, to start from.
    """

    steps: int
    eta_init: float
    eta_max: float
    gamma_init: float

    def __post_init__(self):
        problems = []
        if self.steps < 1:
            problems.append(f"K must be at least 1; got {self.steps}")
        if not 0.0 < self.eta_init < self.eta_max:
            problems.append(
                "eta_init must be positive and less than eta_max; got "
                f"{self.eta_init} and {self.eta_max}"
            )
        if not 0.0 < self.gamma_init < 1.0:
            problems.append(f"gamma_init must lie between 0 and 1; got {self.gamma_init}")
        if problems:
            raise InputError(problems)


@dataclasses.dataclass(frozen=True)
class Dynamics:
    """How an annealed guide moves; leading axes are members that move independently.

    Attributes:
        step: step size at the start of the path, (...).
        step_slope: change of the step size along the path, (...).
        step_max: the largest step size.
        damping: share of the momentum that a step keeps, (...).
        betas: weight of the target at each step, rising to 1, (..., K).
        mass: masses, (..., dim).
    """

    step: Any
    step_slope: Any
    step_max: float
    damping: Any
    betas: Any
    mass: Any


def declare_dynamics(
    prefix: str, options: AnnealingOptions, dim: int, members: tuple[int, ...] = ()
) -> Dynamics:
    """Declare the params of the dynamics.

    Args:
        prefix: put before their names.
        options: where they start.
        dim: latent coordinates of a member.
        members: shape of the members with params of their own, inside their plate.
    """

    def declare(name: str, start: Any, constraint: Any, event: int) -> Any:
        more = {"event_dim": event} if members else {}
        return param(f"{prefix}_{name}", start, constraint=constraint, **more)

    def full(value: float, *shape: int) -> Any:
        return jnp.full((*members, *shape), value)

    limits = constraints.interval(0.0, options.eta_max)
    step = declare("eta0", full(options.eta_init), limits, 0)
    slope = declare("eta_coeff", full(0.0), constraints.real, 0)
    gamma = declare("gamma", full(options.gamma_init), constraints.unit_interval, 0)
    increments = declare("beta_increments", full(1.0, options.steps), constraints.positive, 1)
    mass = declare("mass_matrix", full(1.0, dim), constraints.positive, 1)
    betas = jnp.cumsum(increments, axis=-1)
    return Dynamics(step, slope, options.eta_max, gamma, betas / betas[..., -1:], mass)


def anneal(
    dynamics: Dynamics, z: Any, momenta: Any, base_slope: Callable, target_slope: Callable
) -> tuple[Any, Any]:
    """Carry base points along the path.

    Args:
        dynamics: how to move.
        z: base points, (..., dim).
        momenta: draws of the momentum, (K, ..., dim).
        base_slope: gradient of the base's log density.
        target_slope: gradient of the target's log density.

    Returns:
        The end points (..., dim) and log factors (...).
    """
    mass, damping = dynamics.mass, jnp.asarray(dynamics.damping)[..., None]

    def kinetic(v: Any) -> Any:
        return -0.5 * jnp.sum((v / mass) ** 2, axis=-1)

    def move(state: tuple, noise_and_beta: tuple) -> tuple:
        z, v, log_factor = state
        noise, beta = noise_and_beta
        step = jnp.clip(dynamics.step + dynamics.step_slope * beta, 0.0, dynamics.step_max)
        step, beta = step[..., None], beta[..., None]
        middle = z + v * step * 0.5 / mass
        pushed = v + step * ((1.0 - beta) * base_slope(middle) + beta * target_slope(middle))
        end = middle + pushed * step * 0.5 / mass
        refreshed = damping * pushed + jnp.sqrt(1.0 - damping**2) * noise
        return (end, refreshed, log_factor + kinetic(v) - kinetic(pushed)), None

    # The last refreshment moves nothing, so its noise serves as the first momentum.
    start = (z, momenta[-1], jnp.zeros(z.shape[:-1], z.dtype))
    betas = jnp.moveaxis(dynamics.betas, -1, 0)
    (z, _, log_factor), _ = lax.scan(move, start, (momenta, betas))
    return z, log_factor
