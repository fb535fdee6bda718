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
from taut._core.xla_options import run_once
from taut.checking.auxiliaries import left_over
from taut.checking.flow import Flow, drawn_sites
from taut.checking.lines import sample_line
from taut.checking.parameters import nearby
from taut.checking.problem import Problem
from taut.checking.reading import REALS, Reading, plural
from taut.checking.running import Call, Given, Run, is_delta, run, unscaled_log_prob
from taut.guides.pieces.jacobian import log_abs_dets
from taut.guides.pieces.point import states_density

DRAWS = 6

# A full Jacobian of this many rows takes 8 MB.
MOST_NUMBERS = 1000

# Up to so many numbers a map is tested for folds, on so many draws.
MOST_FOLDED, FOLD_DRAWS = 64, 64

# Below this ratio of singular values, single precision cannot tell a rank that is lost.
RANK = 2e-6

# Supports whose values hold more numbers than are free. Densities on a simplex are of all but the
# last number.
FEWER_FREE = ("zero_sum", "sphere", "corr_cholesky", "corr_matrix", "lower_cholesky")

# Rounding of a log determinant in single precision, for each row.
ROUNDING = 1e-4


@dataclasses.dataclass(frozen=True)
class Change:
    """The computed sites of a guide and what they are made from.

    Attributes:
        computed: model sites with a random value that is computed.
        sources: the drawn sites outside the model that they are made from.
        kept: the drawn sites of the model that they are made from.
        simplexes: the computed sites whose last number follows from the others.
    """

    computed: tuple[str, ...]
    sources: tuple[str, ...]
    kept: tuple[str, ...]
    simplexes: tuple[str, ...] = ()

    def free(self, name: str, value: Any) -> Any:
        """Return the numbers of a computed site that its density is a density of."""
        return value[..., :-1] if name in self.simplexes else value

    def numbers(self, guide: Reading) -> int:
        """How many numbers are made."""
        shapes = {n: guide.sites[n].shape for n in self.computed}
        empty = (np.empty(shape) for shape in shapes.values())
        return sum(self.free(n, v).size for n, v in zip(shapes, empty, strict=True))


@dataclasses.dataclass(frozen=True)
class VariableFindings:
    """What the changes of variables of a guide amount to.

    Attributes:
        problems: what is wrong with them.
        corrects: whether the guide's factors make up a Jacobian term.
    """

    problems: tuple[Problem, ...]
    corrects: bool


def find_change(guide: Reading, model: Reading, flow: Flow) -> Change:
    """List the computed sites of a guide that are random, and their sources."""
    drawn, latents = drawn_sites(guide), model.latents()
    computed = [n for n, depends in flow.computed.items() if depends & {*drawn, ""}]
    parents = frozenset().union(*(flow.computed[n] for n in computed))
    sources = tuple(n for n in drawn if n in parents and n not in latents)
    kept = tuple(n for n in drawn if n in parents and n in latents)
    simplexes = tuple(n for n in computed if model.sites[n].support == "simplex")
    return Change(tuple(computed), sources, kept, simplexes)


def variable_problems(
    call: Call, guide: Reading, model: Reading, flow: Flow, key: Any
) -> VariableFindings:
    """Find maps that have no density, Jacobians left out or wrong, and auxiliaries left over."""
    change = find_change(guide, model, flow)
    left = left_over(call, guide, model, flow, change.sources, key)
    if not change.computed:
        return VariableFindings(tuple(left), corrects=False)
    smooth, made, source = _counts(guide, change)
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
    if made <= MOST_FOLDED and _folds(call, guide, change, smooth, key):
        return VariableFindings((*left, _folded(guide, change)), corrects=False)
    sound = np.isfinite(log_det)
    allowed = ROUNDING * made * (1.0 + np.abs(log_det[sound]).max())
    needed = -log_det[sound]
    if np.abs(given[sound] + factors[sound] - needed).max() <= allowed:
        corrects = bool(np.abs(factors[sound]).max() > allowed)
        return VariableFindings(tuple(left), corrects)
    if np.abs(given[sound] - needed).max() <= allowed:
        return VariableFindings(tuple(left), corrects=False)
    added = found["added"][sound]
    if np.abs(given[sound] + added - needed).max() <= allowed:
        return VariableFindings((*left, _added(change, added)), corrects=False)
    return VariableFindings((*left, _wrong(change, given[sound], needed)), corrects=False)


def one_way_problems(
    call: Call, guide: Reading, flow: Flow, change: Change, key: Any
) -> list[Problem]:
    """Find the maps without a density that no single draw shows: hidden noise, and folds."""
    keyed = _keyed(flow, change)
    if keyed:
        return [] if _states_all(call, guide, keyed, key) else [_hidden_noise(keyed)]
    smooth, made, source = _counts(guide, change)
    if 0 < made == source and made <= MOST_FOLDED and _folds(call, guide, change, smooth, key):
        return [_folded(guide, change)]
    return []


def _counts(guide: Reading, change: Change) -> tuple[list[str], int, int]:
    """The smooth sources, how many numbers are made, and of how many."""
    smooth = [n for n in change.sources if not guide.sites[n].discrete]
    return smooth, change.numbers(guide), sum(guide.sites[n].size for n in smooth)


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

    def at(params: dict, key: Any) -> dict:
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

    keys = jax.random.split(key, DRAWS)
    rows = nearby(guide, DRAWS)
    stacked = jax.tree_util.tree_map(lambda *v: np.stack(v), *rows)
    mapped = run_once(lambda rs, ks: jax.lax.map(lambda row: at(*row), (rs, ks)))
    found = {n: np.asarray(v, float) for n, v in mapped(stacked, keys).items()}
    jacobians = found.pop("jacobian")
    return {**found, "log_det": np.array([_log_det(j) for j in jacobians])}


def _folds(call: Call, guide: Reading, change: Change, smooth: list[str], key: Any) -> bool:
    """Whether the determinant has both signs, among draws and points twice as far out."""
    params = {n: p.value for n, p in guide.parameters.items()}
    drawn = drawn_sites(guide)

    def draw(key: Any) -> dict:
        trace = run(call, key, params).trace
        return {n: trace[n]["value"] for n in drawn}

    def sign(key: Any, values: dict) -> Any:
        moving = {n: jnp.asarray(values[n]) for n in smooth}
        flat, unravel = ravel_pytree(moving)

        def made(flat: Any) -> Any:
            trace = run(call, key, params, Given({**values, **unravel(flat)}, {})).trace
            parts = [change.free(n, trace[n]["value"]) for n in change.computed]
            return jnp.concatenate([jnp.ravel(part) for part in parts])

        return jnp.linalg.slogdet(jax.jacfwd(made)(flat))[0]

    def signs(keys: Any) -> Any:
        draws = jax.vmap(draw)(keys)
        far = {
            n: 2.0 * v - v.mean(axis=0) if n in smooth and guide.sites[n].support in REALS else v
            for n, v in draws.items()
        }
        return [jax.lax.map(lambda row: sign(*row), (keys, d)) for d in (draws, far)]

    found = np.concatenate(run_once(signs)(jax.random.split(key, FOLD_DRAWS)))
    return bool((found > 0).any() and (found < 0).any())


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


def _what(guide: Reading, change: Change) -> tuple[str, str]:
    """Say how many numbers are made, and of which."""
    made = change.numbers(guide)
    source = sum(guide.sites[n].size for n in change.sources if not guide.sites[n].discrete)
    names = first_few(change.computed)
    verb = "is" if len(change.computed) == 1 else "are"
    origin = f" ({first_few(change.sources)})" if change.sources else ""
    kind = "auxiliary" if source == 1 else "auxiliaries"
    return names, f"{names} {verb} {plural(made, 'number')} made from {source} {kind}{origin}"


def _too_few(guide: Reading, model: Reading, change: Change) -> Problem:
    names, what = _what(guide, change)
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
    names, what = _what(guide, change)
    return Problem(
        "error",
        "density",
        names,
        f"{what}; their density is an integral that nobody computed",
        "as many numbers made as auxiliaries used",
        "Sample the site itself, or give the missing log density in dist.Delta(value, "
        "log_density=...)",
    )


def _singular(guide: Reading, change: Change) -> Problem:
    names, what = _what(guide, change)
    return Problem(
        "error",
        "density",
        names,
        f"{what} by a map whose determinant is zero everywhere; no density exists",
        "a map that can be inverted",
        "Make each computed site depend on an auxiliary of its own",
    )


def _folded(guide: Reading, change: Change) -> Problem:
    names, what = _what(guide, change)
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
