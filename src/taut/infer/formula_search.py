"""Fitting a guide whose `factor` makes its density a formula without a normaliser.

What such a guide says is q = (its sample statements) x exp(factor) / Z, whatever its sampler draws.
Fitted so, Z is found by quadrature or importance sampling, and draws come from the fitted formula.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from taut._core.errors import InputError, first_few
from taut._core.precision import precision_of
from taut.guides.pieces.point import point_of
from taut.guides.pieces.unnormalised import Solution, fit_in_box, fit_on_points
from taut.guides.program import ProgramGuide
from taut.infer.guide_call import GuideCall
from taut.infer.traces import is_latent
from taut.loop.monitor import Monitor
from taut.loop.stages import Outcome
from taut.loop.verdict import Verdict
from taut.targets.target import Target

BOX_DIMENSIONS = 2

SUMMARY_DRAWS = 4096
"""Draws behind the mean and the spread of a fitted guide."""


class FormulaSearch:
    """Fits a guide function as the unnormalised density it states. All in double precision.

    Args:
        target: the model with its data.
        guide: the user's function.
        monitor: counts gradients and keeps the time.
        seed: where all random numbers come from.

    Raises:
        InputError: the guide does not give the density of the model's sites as a formula.
    """

    def __init__(self, target: Target, guide: Callable, monitor: Monitor, seed: int):
        self._monitor, self._seed = monitor, seed
        self.starts, self.found, self.settled_loss = 1, (), np.inf
        with _double():
            self._call = GuideCall(target, guide)
            self._params = self._call.read_params(np.dtype(np.float64))
            self._names = [site.name for site in target.program.sites]
            start = self._params.first(seed)
            _, trace = self._call.pair(jax.random.key(seed), self._params.values(start))
            _refuse_others(trace, self._names)
            box = _box(trace, self._names)
            self._box = box if box is not None and len(box) <= BOX_DIMENSIONS else None
            self._shapes = [(n, np.shape(trace[n]["value"])) for n in self._names]
            self._phi, self._unravel = ravel_pytree(start)

    def run(self) -> Outcome:
        """Fit.

        Raises:
            InputError: the normaliser cannot be found.
        """
        target = self._call.target
        with _double():
            phi = np.asarray(self._phi, float)
            if self._box is not None:

                def log_p(x: Any) -> Any:
                    return target.log_joint(self._named(x))

                found = fit_in_box(self._formula, log_p, phi, self._box)
            else:
                found = fit_on_points(
                    self._latent_formula, target.log_density, phi, target.dim, self._seed
                )
        self.settled_loss = -found.elbo
        count = len(found.points)
        self._monitor.note(count, -found.elbo, found.method, count)
        message = f"the formula was fitted to rounding, its normaliser found by {found.method}"
        return Outcome(self._fitted(found), Verdict(True, "converged", message, 0.0))

    def fallback(self) -> ProgramGuide:
        """Refuse: before the fit there is no normaliser, and so no density.

        Raises:
            InputError: always.
        """
        raise InputError("the fit was stopped before the normaliser of the guide was found")

    def needs_double(self, outcome: Outcome) -> str:
        """Return an empty string: it was computed in double precision."""
        return ""

    def _formula(self, x: Any, phi: Any) -> Any:
        """Log q in the model's own coordinates, less log Z."""
        return self._call.stated(self._named(x), self._params.values(self._unravel(phi)))

    def _latent_formula(self, z: Any, phi: Any) -> Any:
        """Log q in latent coordinates, less log Z."""
        target = self._call.target
        constrained = target.constrain(z)
        values = {name: constrained[name] for name in self._names}
        stated = self._call.stated(values, self._params.values(self._unravel(phi)))
        return stated + target.unconstrain(values)[1]

    def _named(self, x: Any) -> dict[str, Any]:
        values, start = {}, 0
        for name, shape in self._shapes:
            size = int(np.prod(shape, dtype=int))
            values[name] = x[start : start + size].reshape(shape)
            start += size
        return values

    def _fitted(self, found: Solution) -> ProgramGuide:
        phi = jnp.asarray(found.phi)
        log_z, box = found.log_normaliser, self._box
        with _double():
            latent = jax.jit(jax.vmap(lambda x: self._call.latent(self._named(x))))
            formula = jax.jit(jax.vmap(lambda x: self._formula(x, phi)))
            latent_formula = jax.jit(jax.vmap(lambda z: self._latent_formula(z, phi)))
            params = jax.tree.map(np.asarray, self._params.values(self._unravel(phi)))

        def density(z: np.ndarray) -> np.ndarray:
            flat = z.reshape(-1, z.shape[-1])
            with _double():
                log_q = np.asarray(latent_formula(flat)) - log_z
                if box is not None:
                    values = jax.vmap(self._call.target.constrain)(jnp.asarray(flat))
                    x = np.column_stack(
                        [np.reshape(values[n], (len(flat), -1)) for n in self._names]
                    )
                    inside = ((x >= box[:, 0]) & (x <= box[:, 1])).all(axis=1)
                    log_q = np.where(inside, log_q, -np.inf)
            return log_q.reshape(z.shape[:-1])

        def sampler(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            rng = np.random.default_rng(seed)
            with _double():
                if box is None:
                    return found.draw(latent_formula, count, rng)
                x, log_q = found.draw(formula, count, rng)
                z, jacobian = (np.asarray(v) for v in latent(x))
            return z, log_q + jacobian

        z, _ = sampler(self._seed, SUMMARY_DRAWS)
        return ProgramGuide(params, z.mean(axis=0), z.std(axis=0), sampler, density)


def _double() -> Any:
    return precision_of(np.dtype(np.float64))


def _refuse_others(trace: dict, names: list[str]) -> None:
    drawn = {n for n, s in trace.items() if is_latent(s) and point_of(s["fn"]) is None}
    others = sorted(drawn ^ set(names))
    if others:
        raise InputError(
            "the guide has a factor, so its density is known up to a constant only; to find the "
            f"constant it has to draw the model's sites and nothing else, but {first_few(others)} "
            "is drawn by one of the two alone. Take the factor out, or write the formula with "
            "taut.guides.energy(log_q, params, sites)"
        )


def _box(trace: dict, names: list[str]) -> np.ndarray | None:
    """Return the lowest and highest value of every number, if all are bounded."""
    rows = []
    for name in names:
        support = trace[name]["fn"].support
        base = getattr(support, "base_constraint", support)
        low, high = getattr(base, "lower_bound", None), getattr(base, "upper_bound", None)
        if low is None or high is None:
            return None
        shape = np.shape(trace[name]["value"])
        bounds = (np.ravel(np.broadcast_to(np.asarray(v, float), shape)) for v in (low, high))
        rows += list(zip(*bounds, strict=True))
    box = np.array(rows)
    return box if np.isfinite(box).all() else None
