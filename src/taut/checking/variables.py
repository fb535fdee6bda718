"""Changes of variables in a guide: sites computed from drawn ones, and their Jacobians.

A guide that draws u and sets x = f(u) has the density q(u) / |det df/du|. The determinant is
computed here by automatic differentiation, at several draws and several values of the parameters,
and compared with the log density that the guide states itself, and with what the objectives add
where it states none.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from taut._core.errors import InputError, first_few
from taut._core.random_keys import key_numbers
from taut._core.run_once import map_once
from taut.checking.auxiliaries import left_over
from taut.checking.change import Change, find_change, words_of
from taut.checking.flow import Flow, drawn_sites
from taut.checking.folds import RANK, Folds, testable
from taut.checking.lines import sample_line
from taut.checking.parameters import nearby, stepped
from taut.checking.problem import Problem
from taut.checking.reading import Reading
from taut.checking.running import Call, Given, Run, is_delta, run, unscaled_log_prob
from taut.guides.pieces.jacobian import log_abs_dets
from taut.guides.pieces.point import states_density

DRAWS = 6

# A full Jacobian of this many rows takes 8 MB.
MOST_NUMBERS = 1000

# Supports whose values hold more numbers than are free. Densities on a simplex are of all but the
# last number.
FEWER_FREE = ("zero_sum", "sphere", "corr_cholesky", "corr_matrix", "lower_cholesky")

# Rounding of a log determinant in single precision, for each row.
ROUNDING = 1e-4


@dataclasses.dataclass(frozen=True)
class VariableFindings:
    """What the changes of variables of a guide amount to.

    Attributes:
        problems: what is wrong with them.
        corrects: whether the guide's factors make up a Jacobian term.
        folds: what tells whether the map is one to one; None if it was not looked at.
    """

    problems: tuple[Problem, ...]
    corrects: bool
    folds: Folds | None = None


def variable_problems(
    call: Call, guide: Reading, model: Reading, flow: Flow, key: Any
) -> VariableFindings:
    """Find maps that have no density, Jacobians left out or wrong, and auxiliaries left over."""
    change = find_change(guide, model, flow)
    left = left_over(call, guide, model, flow, change.sources, key)
    if not change.computed:
        return VariableFindings(tuple(left), corrects=False)
    smooth, made, source = change.smooth(guide), change.numbers(guide), change.used(guide)
    keyed = _keyed(flow, change)
    if keyed and not _states_all(call, guide, keyed, key):
        return VariableFindings((*left, _hidden_noise(keyed)), corrects=False)
    if made > MOST_NUMBERS or keyed:
        return VariableFindings(tuple(left), corrects=False)
    if made > source:
        return VariableFindings((*left, _too_few(guide, model, change)), corrects=False)
    found = _determinants(call, guide, change, smooth, key)
    given, factors = found["given"], found["factors"]
    if made < source:
        if np.any(given != 0) or np.any(factors != 0):
            return VariableFindings(tuple(left), corrects=True)
        return VariableFindings((*left, _too_many(guide, change)), corrects=False)
    log_det = found["log_det"]
    if not np.isfinite(log_det).any():
        return VariableFindings((*left, _singular(guide, change)), corrects=False)
    folds, folded = _fold(call, guide, change, key)
    if folded is not None:
        return VariableFindings((*left, folded), corrects=False)
    sound = np.isfinite(log_det)
    allowed = ROUNDING * made * (1.0 + np.abs(log_det[sound]).max())
    needed = -log_det[sound]
    if np.abs(given[sound] + factors[sound] - needed).max() <= allowed:
        corrects = bool(np.abs(factors[sound]).max() > allowed)
        return VariableFindings(tuple(left), corrects, folds)
    if np.abs(given[sound] - needed).max() <= allowed:
        return VariableFindings(tuple(left), corrects=False, folds=folds)
    added = found["added"][sound]
    if np.abs(given[sound] + added - needed).max() <= allowed:
        return VariableFindings((*left, _added(change, added)), corrects=False, folds=folds)
    return VariableFindings((*left, _wrong(change, given[sound], needed)), corrects=False)


def one_way_problems(
    call: Call, guide: Reading, flow: Flow, change: Change, key: Any
) -> list[Problem]:
    """Find the maps without a density that no single draw shows: hidden noise, and folds."""
    keyed = _keyed(flow, change)
    if keyed:
        return [] if _states_all(call, guide, keyed, key) else [_hidden_noise(keyed)]
    folded = _fold(call, guide, change, key)[1]
    return [] if folded is None else [folded]


def _fold(
    call: Call, guide: Reading, change: Change, key: Any
) -> tuple[Folds | None, Problem | None]:
    if not testable(guide, change):
        return None, None
    params = {n: p.value for n, p in guide.parameters.items()}
    folds = Folds(call, guide, change)
    return folds, folds.at_first(params, key)


def _keyed(flow: Flow, change: Change) -> list[str]:
    return [n for n in change.computed if "" in flow.computed[n]]


def _states_all(call: Call, guide: Reading, names: list[str], key: Any) -> bool:
    """Whether the guide states a log density for each of some computed sites."""
    params = {n: p.value for n, p in guide.parameters.items()}
    found: list[bool] = []

    def read(key: Any) -> None:
        trace = run(call, key, params).trace
        found.extend(states_density(trace[n].get("fn")) for n in names)

    jax.eval_shape(read, key)
    return all(found)


def _hidden_noise(names: list[str]) -> Problem:
    return Problem(
        "error",
        "density",
        names[0],
        f"{first_few(names)} {'is' if len(names) == 1 else 'are'} computed with random numbers "
        "(numpyro.prng_key) that are no site of the guide, so no density is known",
        "randomness that comes from numpyro.sample",
        f"Write u = numpyro.sample('u', dist.Normal(0.0, 1.0)) and compute {names[0]} from it",
    )


def _determinants(
    call: Call, guide: Reading, change: Change, smooth: list[str], key: Any
) -> dict[str, np.ndarray]:
    """Log determinants, and what the guide gave in their place, at several draws."""
    drawn = drawn_sites(guide)

    def values_at(params: dict, key: Any, fixed: dict, moving: dict) -> Any:
        result = run(call, key, params, Given({**fixed, **moving}, {}))
        parts = [jnp.ravel(change.free(n, result.trace[n]["value"])) for n in change.computed]
        return jnp.concatenate(parts), result

    def added(params: dict, key: Any, fixed: dict, moving: dict, result: Run) -> Any:
        """What the objectives add: the determinants of what has no density of its own."""

        def fn(values: dict) -> dict:
            trace = values_at(params, key, fixed, values)[1].trace
            return {n: change.free(n, trace[n]["value"]) for n in change.computed}

        known = [n for n in change.computed if states_density(result.trace[n].get("fn"))]
        try:
            blocks = log_abs_dets(fn, moving, known)
        except InputError:  # the full determinant says so too
            return jnp.zeros(())
        ours = (block for block in blocks if not set(block.made) & set(known))
        return -sum((jnp.sum(block.log_det) for block in ours), jnp.zeros(()))

    def at(row: Any) -> dict:
        steps, numbers = row
        params, key = stepped(guide, steps), jax.random.wrap_key_data(numbers)
        first = run(call, key, params).trace
        values = {n: first[n]["value"] for n in drawn}
        moving = {n: jnp.asarray(values[n]) for n in smooth}
        fixed = {n: v for n, v in values.items() if n not in moving}
        flat, unravel = ravel_pytree(moving)
        jacobian = jax.jacfwd(lambda f: values_at(params, key, fixed, unravel(f))[0])(flat)
        _, result = values_at(params, key, fixed, moving)
        deltas = [result.trace[n] for n in change.computed if is_delta(result.trace[n])]
        return {
            "jacobian": jacobian,
            "given": _total(deltas),
            "factors": _total(result.factors().values()),
            "added": added(params, key, fixed, moving, result),
        }

    rows = (nearby(guide, DRAWS), key_numbers(key, DRAWS))
    found = {n: np.asarray(v, float) for n, v in map_once(at)(rows).items()}
    jacobians = found.pop("jacobian")
    return {**found, "log_det": np.array([_log_det(j) for j in jacobians])}


def _total(messages: Iterable[dict]) -> Any:
    return sum((unscaled_log_prob(message) for message in messages), jnp.zeros(()))


def _log_det(jacobian: np.ndarray) -> float:
    """log|det|; minus infinity if rank is lost; 0 of a matrix that is not square."""
    if jacobian.shape[0] != jacobian.shape[1]:
        return 0.0
    norms = np.linalg.norm(jacobian, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or (norms == 0).any():
        return -np.inf
    singular = np.linalg.svd(jacobian / norms, compute_uv=False)
    lost = singular[-1] <= RANK * singular[0]
    return -np.inf if lost else float(np.linalg.slogdet(jacobian)[1])


def _too_few(guide: Reading, model: Reading, change: Change) -> Problem:
    names, what = words_of(guide, change)
    bound = [n for n in change.computed if model.sites[n].support in FEWER_FREE]
    if bound:
        twin = model.sites[bound[0]]
        return Problem(
            "error",
            "density",
            names,
            f"{what}. On the support {twin.support} of {bound[0]!r} fewer numbers are free than it "
            "holds, and no Jacobian is computed there",
            "a distribution on that support, which has its own",
            f"Write {sample_line(twin)}",
        )
    beside = f" and from {first_few(change.kept)}, drawn already" if change.kept else ""
    return Problem(
        "error",
        "density",
        names,
        f"{what}{beside}; no density exists",
        "as many auxiliaries as numbers made from them",
        "Sample one more auxiliary for each missing number, or sample the site itself",
    )


def _too_many(guide: Reading, change: Change) -> Problem:
    names, what = words_of(guide, change)
    fix = "Sample the site itself, or give the missing log density in dist.Delta(value, "
    fix += "log_density=...)"
    if change.simplexes:
        fix = "Make a simplex of one number fewer, as in jax.nn.softmax(jnp.append(u, 0.0))"
    return Problem(
        "error",
        "density",
        names,
        f"{what}; their density is an integral that nobody computed",
        "as many numbers made as auxiliaries used",
        fix,
    )


def _singular(guide: Reading, change: Change) -> Problem:
    names, what = words_of(guide, change)
    return Problem(
        "error",
        "density",
        names,
        f"{what} by a map whose determinant is zero everywhere; no density exists",
        "a map that can be inverted",
        "Make each computed site depend on an auxiliary of its own",
    )


def _added(change: Change, added: np.ndarray) -> Problem:
    names = first_few(change.computed)
    low, high = added.min(), added.max()
    amount = f"{low:.3g}" if high - low < 1e-3 else f"between {low:.3g} and {high:.3g} at draws"
    return Problem(
        "note",
        "jacobian",
        names,
        f"{names} computed from {first_few(change.sources)} without log_density, by a map that is "
        f"not volume preserving; Taut adds -log|det J| ({amount}) to log q, which NumPyro leaves "
        "out",
        "log q of the computed values",
        "Nothing is to be done; dist.Delta(value, log_density=...) says the same to both",
    )


def _wrong(change: Change, given: np.ndarray, needed: np.ndarray) -> Problem:
    names = first_few(change.computed)
    sign = " (the sign is reversed)" if np.allclose(given, -needed, atol=1e-3) else ""
    return Problem(
        "error",
        "jacobian",
        names,
        f"{names} computed from {first_few(change.sources)} with log_density {given[0]:.4g} at a "
        f"draw where -log|det J| is {needed[0]:.4g}{sign}",
        "log_density = -log|det J| of the map",
        "Write taut.guides.transformed(base, fn), which computes it",
    )
