"""A guide given by a formula for its log density, up to a constant."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import biject_to, constraints

from taut._core.errors import InputError, did_you_mean
from taut.guides.pieces.unnormalised import Solution, fit_in_box, fit_on_points

QUADRATURE_DIMENSIONS = 2


def energy(log_q: Callable[..., Any], params: Mapping[str, Any], sites: Any) -> "Energy":
    """A guide given by a formula for its log density, up to a constant.

    Args:
        log_q: the formula, `log_q(x, y, ..., a, b, ...)`, in scalar sites and scalar parameters by
            name; returns a scalar.
        params: a first value for each parameter, or a pair (first value, constraint).
        sites: the scalar sites: a list of names on the reals, or a dict of names and supports, each
            `constraints.real` or `constraints.interval(low, high)`.

    Returns:
        An energy; `energy.fit(log_p)` fits it.

    Raises:
        InputError: names that clash or that the formula does not take, first values outside their
            constraints, or other supports.
    """
    supports = dict(sites) if isinstance(sites, Mapping) else dict.fromkeys(sites, constraints.real)
    pairs = {n: v if isinstance(v, tuple) else (v, constraints.real) for n, v in params.items()}
    problems = [f"{n!r} is both a site and a parameter" for n in supports if n in pairs]
    if not supports or not pairs:
        problems.append("an energy has at least one site and one parameter")
    for name, (value, constraint) in pairs.items():
        if np.ndim(value) != 0 or not bool(constraint(np.asarray(value, float))):
            problems.append(f"parameter {name!r} starts at {value}, outside its constraint")
    kinds = {_bounds(s) is None for s in supports.values()} if supports else set()
    other = [n for n, s in supports.items() if _bounds(s) is None and s is not constraints.real]
    if other or len(kinds) > 1:
        problems.append("the sites of an energy are all real, or all bounded intervals")
    try:
        inspect.signature(log_q).bind(**dict.fromkeys([*supports, *pairs]))
    except TypeError as error:
        taken = list(inspect.signature(log_q).parameters)
        wrong = [n for n in (*supports, *pairs) if n not in taken]
        hint = did_you_mean(wrong[0], taken) if wrong else ""
        problems.append(f"the formula cannot be called with these names: {error}{hint}")
    if problems:
        raise InputError(problems)
    return Energy(log_q, pairs, supports)


@dataclasses.dataclass(frozen=True)
class Energy:
    """A formula for log q up to a constant; made by `energy`.

    Attributes:
        log_q: the formula.
        params: first value and constraint of each parameter.
        sites: the support of each site.
    """

    log_q: Callable[..., Any]
    params: dict[str, tuple[float, Any]]
    sites: dict[str, Any]

    def fit(self, log_p: Callable[..., Any], seed: int = 0) -> "EnergyFit":
        """Fit the formula to a target, by the smallest KL(q | p).

        The normaliser is found by quadrature for one or two bounded sites, and otherwise by
        self-normalised importance sampling on fixed points; score matching gives the first
        parameters. All in double precision.

        Args:
            log_p: the target's log density, called with the sites as keywords; it need not be
                normalised.
            seed: where the points are drawn from, if they are.

        Raises:
            InputError: the normaliser cannot be found.
        """
        bounds = [_bounds(support) for support in self.sites.values()]
        with jax.enable_x64(True):
            phi = np.array([biject_to(c).inv(float(v)) for v, c in self.params.values()], float)
            box = np.array([b for b in bounds if b is not None], float)
            if len(box) and len(box) <= QUADRATURE_DIMENSIONS:
                found = fit_in_box(self._formula, self._target(log_p), phi, box)
            elif len(box):
                raise InputError(
                    f"quadrature in {len(box)} dimensions takes too many nodes; give the sites "
                    "without bounds"
                )
            else:
                target = self._target(log_p)
                found = fit_on_points(self._formula, target, phi, len(bounds), seed)
            params = {n: float(v) for n, v in self._parameters(found.phi).items()}
        return EnergyFit(params, found, self)

    def _parameters(self, phi: Any) -> dict[str, Any]:
        return {
            name: biject_to(constraint)(value)
            for (name, (_, constraint)), value in zip(self.params.items(), phi, strict=True)
        }

    def _formula(self, z: Any, phi: Any) -> Any:
        return self.log_q(**dict(zip(self.sites, z, strict=True)), **self._parameters(phi))

    def _target(self, log_p: Callable[..., Any]) -> Callable[[Any], Any]:
        return lambda z: log_p(**dict(zip(self.sites, z, strict=True)))


@dataclasses.dataclass(frozen=True)
class EnergyFit:
    """A fitted energy.

    Attributes:
        params: the parameters, by name.
        solution: the numbers behind: points, weights, how the normaliser was found.
        energy: the formula.
    """

    params: dict[str, float]
    solution: Solution
    energy: Energy

    @property
    def log_normaliser(self) -> float:
        """Log Z: log q is the formula less this."""
        return self.solution.log_normaliser

    @property
    def elbo(self) -> float:
        """The evidence lower bound, in nats."""
        return self.solution.elbo

    @property
    def method(self) -> str:
        """How the normaliser was found: "quadrature" or "importance sampling"."""
        return self.solution.method

    def log_prob(self, values: Mapping[str, Any]) -> np.ndarray:
        """Return the normalised log density at values (draws,) of every site."""
        with jax.enable_x64(True):
            arrays = {n: jnp.asarray(values[n], float) for n in self.energy.sites}
            return np.asarray(self._formula(arrays)) - self.log_normaliser

    def sample(self, draws: int = 4000, seed: int = 0) -> dict[str, np.ndarray]:
        """Return draws (draws,) of every site."""
        names = list(self.energy.sites)
        with jax.enable_x64(True):
            points, _ = self.solution.draw(
                lambda z: self._formula(dict(zip(names, z.T, strict=True))),
                draws,
                np.random.default_rng(seed),
            )
        return dict(zip(names, points.T, strict=True))

    def _formula(self, values: Mapping[str, Any]) -> Any:
        """The formula at values (n,) of every site."""
        return jax.vmap(lambda v: self.energy.log_q(**v, **self.params))(dict(values))


def _bounds(support: Any) -> tuple[float, float] | None:
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    return None if low is None or high is None else (float(low), float(high))
