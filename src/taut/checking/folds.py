"""Maps of a guide that are not one to one: folded over, or flat."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from taut._core.random_keys import key_numbers
from taut._core.run_once import run_once
from taut.checking.change import Change, words_of
from taut.checking.flow import drawn_sites
from taut.checking.problem import Problem
from taut.checking.reading import REALS, Reading
from taut.checking.running import Call, Given, run

# Up to so many numbers a map is tested: on so many draws, and on whole batches of as many of a
# fitted guide.
MOST_FOLDED, DRAWS, FITTED_DRAWS = 64, 64, 1024

# A fold that fewer draws of a fitted guide have crossed changes its density by less.
FEW_CROSS = 0.005

# Below this ratio of singular values, single precision cannot tell the sign.
RANK = 2e-6


def testable(guide: Reading, change: Change) -> bool:
    """Whether a map makes as many numbers as it uses, and few enough to be tested."""
    made = change.numbers(guide)
    return 0 < made <= MOST_FOLDED and made == change.used(guide)


class Folds:
    """Finds out whether a guide's map is one to one, from the signs of its determinant.

    Args:
        call: the guide.
        guide: what it declares.
        change: the sites it computes, as many numbers as they are made from.
    """

    def __init__(self, call: Call, guide: Reading, change: Change):
        self._guide, self._change = guide, change
        self._jacobians = _jacobians(call, guide, change)

    def at_first(self, params: dict, key: Any) -> Problem | None:
        """Say what is wrong at the first values of the parameters.

        That is a determinant of both signs, among draws and points twice as far out, or one that is
        zero at a draw.
        """
        near, far = (self._signs(params, key, DRAWS, out) for out in (0.0, 1.0))
        both = np.concatenate([near, far])
        if (both > 0).any() and (both < 0).any():
            return _folded(self._guide, self._change)
        return self._flat(near)

    def at_last(self, params: dict, key: Any) -> Problem | None:
        """Say what is wrong at the fitted values, where only what draws reach counts."""
        near = self._signs(params, key, FITTED_DRAWS)
        if min((near > 0).mean(), (near < 0).mean()) > FEW_CROSS:
            return _folded(self._guide, self._change)
        return self._flat(near)

    def _signs(self, params: dict, key: Any, count: int, out: float = 0.0) -> np.ndarray:
        """Return signs of the determinant; zero if a number does not move, NaN if not known."""
        batches = np.split(key_numbers(key, count), count // DRAWS)
        found = [self._jacobians(params, keys, np.float32(out)) for keys in batches]
        jacobians = np.concatenate([np.asarray(part, float) for part in found])
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(jacobians, axis=2, keepdims=True)
            rows = jacobians / np.where(norms == 0.0, 1.0, norms)
        signs = np.full(count, np.nan)
        finite = np.isfinite(rows).all(axis=(1, 2))
        singular = np.linalg.svd(rows[finite], compute_uv=False)
        known = singular[:, -1] > RANK * singular[:, 0]
        signs[finite] = np.where(known, np.linalg.slogdet(rows[finite])[0], np.nan)
        signs[(norms == 0.0).any(axis=(1, 2))] = 0.0
        return signs

    def _flat(self, signs: np.ndarray) -> Problem | None:
        share = float((signs == 0).mean())
        return _flat(self._guide, self._change, share) if share else None


def _jacobians(call: Call, guide: Reading, change: Change) -> Callable:
    """Return a compiled function that differentiates a guide's map at draws."""
    drawn = drawn_sites(guide)
    smooth = change.smooth(guide)

    def draw(params: dict, key: Any) -> dict:
        trace = run(call, key, params).trace
        return {n: trace[n]["value"] for n in drawn}

    def jacobian(params: dict, key: Any, values: dict) -> Any:
        flat, unravel = ravel_pytree({n: jnp.asarray(values[n]) for n in smooth})

        def made(flat: Any) -> Any:
            trace = run(call, key, params, Given({**values, **unravel(flat)}, {})).trace
            parts = [change.free(n, trace[n]["value"]) for n in change.computed]
            return jnp.concatenate([jnp.ravel(part) for part in parts])

        return jax.jacfwd(made)(flat)

    def jacobians(params: dict, numbers: Any, out: Any) -> Any:
        """At a draw for each key, or `out` times as far again from the mean of all."""
        keys = jax.random.wrap_key_data(numbers)
        draws = jax.vmap(draw, (None, 0))(params, keys)
        for name in smooth:
            if guide.sites[name].support in REALS:
                value = draws[name]
                draws[name] = value + out * (value - value.mean(axis=0))
        return jax.lax.map(lambda row: jacobian(params, *row), (keys, draws))

    return run_once(jacobians)


def _folded(guide: Reading, change: Change) -> Problem:
    names, what = words_of(guide, change)
    return Problem(
        "error",
        "density",
        names,
        f"{what} by a map whose determinant changes sign, so it cannot be inverted: different "
        "draws give the same value, whose density is the sum over all of them",
        "a map that takes every draw to a value of its own",
        "Take a map that is one to one where the auxiliaries are drawn, such as jnp.exp(u) in "
        "place of u**2",
    )


def _flat(guide: Reading, change: Change, share: float) -> Problem:
    names, what = words_of(guide, change)
    return Problem(
        "error",
        "density",
        names,
        f"{what} by a map that is flat at {100 * share:.0f}% of the draws: there all of them give "
        "the same value, as jnp.clip, jnp.maximum and relu do, which has no density",
        "a map that takes every draw to a value of its own",
        "Take a map that rises everywhere, such as jax.nn.softplus(u) in place of jax.nn.relu(u), "
        "or sample from a distribution on the support, such as dist.TruncatedNormal",
    )
