"""Mistakes in a model and its data that show before anything is computed."""

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpyro.distributions import Delta, biject_to

from taut._core.errors import first_few
from taut.targets.arguments import text_in
from taut.targets.location import plain_words
from taut.targets.site_log_prob import unwrapped

CANNOT_SAMPLE = frozenset({"ImproperUniform"})

NO_LATENTS = (
    "the model has no latent sites: nothing to infer. Every numpyro.sample has obs=; leave it out "
    "(or pass None) for what is unknown"
)

NO_SITES = (
    "the function has no numpyro.sample sites, so it is no model. A function that returns a log "
    "density is fitted by taut.fit(taut.from_log_density(function, init)), where init is an array, "
    "or a dict of arrays, of the parameters' shapes; data go into from_log_density too"
)


MEND = "drop those rows or put a finite value there and mask them"


def check_params(names: list[str]) -> list[str]:
    """Refuse learnable params in a model: a posterior needs priors."""
    if not names:
        return []
    return [
        f"the model has numpyro.param sites: {first_few(names)}. A posterior needs a prior for "
        "each: use numpyro.sample with a distribution, or pass a fixed value"
    ]


def check_latents(trace: dict) -> list[str]:
    """Find models without latents, discrete latents, and supports without a bijection."""
    if not trace:
        return [NO_SITES]
    if unnamed := [name for name in trace if not isinstance(name, str)]:
        return [f"names of sites must be text; give those called {first_few(unnamed)} another name"]
    latents = {n: m for n, m in trace.items() if m["type"] == "sample" and not m["is_observed"]}
    if not latents:
        return [NO_LATENTS]
    problems = []
    discrete = {n: m["fn"] for n, m in latents.items() if m["fn"].support.is_discrete}
    if discrete:
        problems.append(_discrete_problem(discrete))
    for name, message in latents.items():
        if name in discrete:
            continue
        if isinstance(unwrapped(message["fn"]), Delta):
            problems.append(
                f"site {name!r} is a Delta, a value that is known and nothing to infer: use "
                f"numpyro.deterministic({name!r}, value) in its place, and numpyro.factor for a "
                "log density"
            )
            continue
        try:
            biject_to(message["fn"].support)
        except NotImplementedError:
            kind = type(message["fn"].support).__name__.lstrip("_").lower()
            problems.append(
                f"site {name!r} has support {kind!r}, which no smooth one-to-one map from R^n "
                "reaches; write it through a site that has one (for a direction, normalise a "
                "Normal vector)"
            )
    return problems


def _discrete_problem(sites: dict[str, Any]) -> str:
    """Say that discrete latents have to be summed out, and how, for each kind of them."""
    endless = [name for name, fn in sites.items() if _is_endless(fn)]
    finite = [name for name in sites if name not in endless]
    said = []
    if finite:
        name = finite[0]
        said.append(
            f"for a mixture, replace\n"
            f"         {name} = numpyro.sample({name!r}, dist.Categorical(probs))\n"
            f'         numpyro.sample("y", dist.Normal(mu[{name}], sigma), obs=y)\n'
            f"     by\n"
            f'         numpyro.sample("y", dist.MixtureSameFamily(dist.Categorical(probs), '
            f"dist.Normal(mu, sigma)), obs=y)"
        )
    if endless:
        name = endless[0]
        family = type(unwrapped(sites[name])).__name__.removesuffix("Probs").removesuffix("Logits")
        said.append(
            f"{family} has no largest value, so sum as far as it matters: replace\n"
            f"         {name} = numpyro.sample({name!r}, dist.{family}(...))\n"
            f'         numpyro.sample("y", dist.Normal(mu({name}), sigma), obs=y)\n'
            f"     by\n"
            f"         {name} = jnp.arange(100)\n"
            f"         probs = dist.Categorical(logits=dist.{family}(...).log_prob({name}))\n"
            f'         numpyro.sample("y", dist.MixtureSameFamily(probs, dist.Normal(mu({name}), '
            f"sigma)), obs=y)\n"
            f"     or use the closed form where there is one (the part of a Poisson number that is "
            f"seen with probability p is dist.Poisson(p * rate))"
        )
    said.append(
        "where several data share one such value, add "
        "jax.scipy.special.logsumexp(log_prior + log_likelihood, axis=-1) with numpyro.factor"
    )
    found = first_few(list(sites))
    fixes = ";\n     ".join(said)
    return f"discrete latent sites cannot be fitted: {found}. Sum them out by hand: {fixes}"


def _is_endless(fn: Any) -> bool:
    """Whether a discrete distribution is one of numbers without a largest."""
    return unwrapped(fn).event_dim == 0 and not fn.has_enumerate_support


@dataclasses.dataclass(frozen=True)
class ObservedCheck:
    """What the data of one observed site must satisfy, apart from their shape.

    Attributes:
        site: the observed site.
        source: the data leaf it is, by position, or the constant itself.
        bounds: the leaves of the support: positions of data leaves, or constants.
        structure: rebuilds the support from its leaves; None where it cannot be known beforehand.
    """

    site: str
    source: "Leaf | np.ndarray"
    bounds: tuple[Any, ...]
    structure: Any

    def data(self, leaves: Sequence[Any]) -> Any:
        """Return the site's data."""
        return leaves[self.source.index] if isinstance(self.source, Leaf) else self.source

    def problem(self, names: Sequence[str], leaves: Sequence[Any]) -> str | None:
        """Say what is wrong with the data, or None."""
        label = names[self.source.index] if isinstance(self.source, Leaf) else "a constant"
        value = np.asarray(self.data(leaves))
        if what := text_in(value):
            return f"site {self.site!r}: the data hold {what}"
        support = self._support(leaves)
        outside = None if support is None else _support_problem(self.site, support, value)
        if what := not_finite_words(value):
            besides = f". Besides, {outside}" if outside else ""
            return f"site {self.site!r}: the data ({label}) are {what}; {MEND}{besides}"
        return outside

    def usable(self, leaves: Sequence[Any]) -> np.ndarray:
        """Where the data are finite and inside the support; one verdict for each event."""
        value = np.asarray(self.data(leaves))
        finite, support = np.isfinite(value), self._support(leaves)
        if support is None:
            return finite
        rows = value.shape[: value.ndim - support.event_dim]
        inside = _by_datum(np.asarray(support(value)), rows)
        return inside & finite.all(axis=tuple(range(len(rows), value.ndim)))

    def _support(self, leaves: Sequence[Any]) -> Any:
        """Return the support, or None where it depends on more than the data."""
        if self.structure is None:
            return None
        bounds = [np.asarray(leaves[b.index]) if isinstance(b, Leaf) else b for b in self.bounds]
        return jax.tree_util.tree_unflatten(self.structure, bounds)


@dataclasses.dataclass(frozen=True)
class Leaf:
    """A data leaf, by its position among the arguments' leaves."""

    index: int


def check_observed(trace: dict, tracers: list[Any]) -> tuple[list[str], tuple[ObservedCheck, ...]]:
    """Find observed sites with data of the wrong shape; list what to check of their values.

    Args:
        trace: the abstract trace.
        tracers: what stood for each data leaf in it.
    """
    positions = {id(tracer): Leaf(i) for i, tracer in enumerate(tracers)}
    problems, checks = [], []
    for name, message in trace.items():
        if message["type"] != "sample" or not message["is_observed"]:
            continue
        if type(message["fn"]).__name__ == "Unit":
            continue  # a factor
        problems += [*_shape_problems(name, message), *_complex_problems(name, message)]
        source = _known(message["value"], positions)
        if source is None:
            continue  # made from the arguments by the model: known only when computed
        if not isinstance(source, Leaf):
            source = np.asarray(source)
        parts, structure = jax.tree_util.tree_flatten(message["fn"].support)
        bounds = tuple(_known(part, positions) for part in parts)
        if any(bound is None for bound in bounds):
            structure = None
        checks.append(ObservedCheck(name, source, bounds, structure))
    return problems, tuple(checks)


def observed_problems(
    checks: Sequence[ObservedCheck], names: Sequence[str], leaves: Sequence[Any]
) -> list[str]:
    """Check the values of all observed data against what their sites allow."""
    found = (check.problem(names, leaves) for check in checks)
    return [problem for problem in found if problem]


def _known(value: Any, positions: dict[int, Leaf]) -> Any:
    if id(value) in positions:
        return positions[id(value)]
    return None if isinstance(value, Tracer) else value


def _complex_problems(name: str, message: dict) -> list[str]:
    """Say which of a site's data and arguments are complex."""
    fn = unwrapped(message["fn"])
    found = {"data are": message["value"]}
    found |= {f"{n} of its {type(fn).__name__} is": vars(fn).get(n) for n in fn.arg_constraints}
    return [
        f"site {name!r}: the {what} complex, and a density is one of real numbers; give the real "
        "and imaginary parts sites of their own, or take jnp.real, jnp.imag or jnp.abs"
        for what, value in found.items()
        if np.iscomplexobj(value)
    ]


def _shape_problems(name: str, message: dict) -> list[str]:
    fn, shape = message["fn"], tuple(np.shape(message["value"]))
    if math.prod(shape) == 1:
        return []
    event = fn.event_dim
    batch, rows = tuple(fn.batch_shape), shape[: len(shape) - event]
    try:
        joint = np.broadcast_shapes(batch, rows)
    except ValueError:
        joint = None
    if joint == rows:
        return []
    plates = ", ".join(f"{f.name!r} (size {f.size})" for f in message["cond_indep_stack"])
    inside = f" inside plate {plates}" if plates else ""
    whole = batch + tuple(fn.event_shape)
    what = f"site {name!r}{inside}: the distribution has shape {whole} and the data {shape}"
    fix = "reshape one of them, for example y[:, 0] or x.squeeze(-1), so that they agree"
    if joint is None:
        return [f"{what}, which do not fit together; {fix}"]
    times = math.prod(joint) // max(1, math.prod(rows))
    return [f"{what}; broadcast against each other every datum would count {times} times; {fix}"]


def no_log_prob(site: dict, error: Exception) -> str:
    """Say that a distribution cannot compute the log probability of a site's value, and why."""
    fn, value = unwrapped(site["fn"]), site["value"]
    label = type(fn).__name__
    what = f"site {site['name']!r}: the log probability of its {label} cannot be computed"
    arguments = {n: vars(fn).get(n) for n in getattr(fn, "arg_constraints", {}) if n in vars(fn)}
    wrong = {n: v for n, v in arguments.items() if v is None or isinstance(v, list | tuple | str)}
    if wrong:
        found = ", ".join(f"{n} is {v!r}" for n, v in wrong.items())
        return f"{what}: its {found}; give it a number or an array, as in jnp.array([0.0, 1.0])"
    said = f"{what}: {plain_words(error)}"
    inexact = jnp.issubdtype(jnp.result_type(value), jnp.inexact)
    if inexact and getattr(fn.support, "is_discrete", False):
        return f"{said}; its data are {jnp.result_type(value)}: give whole numbers, y.astype(int)"
    shapes = [f"{n} {np.shape(v)}" for n, v in arguments.items()]
    return f"{said} (shapes: value {np.shape(value)}{''.join(', ' + s for s in shapes)})"


def not_finite_words(value: Any) -> str:
    """Say which values of an array are NaN or infinite, such as 'NaN in 1 of 5 places, at row 2'.

    An empty string if there are none.
    """
    value = np.asarray(value)
    if not np.issubdtype(value.dtype, np.inexact):
        return ""
    bad = np.argwhere(~np.isfinite(value))
    if len(bad) == 0:
        return ""
    tests = {"NaN": np.isnan, "infinite": np.isinf}
    kinds = [word for word, test in tests.items() if test(value).any()]
    rows = first_few([_index(row) for row in bad])
    return f"{' or '.join(kinds)} in {len(bad)} of {value.size} places, at {rows}"


def _support_problem(name: str, support: Any, value: np.ndarray) -> str | None:
    inside = np.asarray(support(value))
    # One verdict for each event; and one datum may face a bound for each row.
    event = value.shape[value.ndim - support.event_dim :]
    if np.issubdtype(value.dtype, np.inexact):  # what is not finite is told by itself
        inside = inside | ~np.isfinite(value).all(axis=tuple(range(-len(event), 0)))
    outside = np.argwhere(~inside)
    if len(outside) == 0:
        return None
    value = np.broadcast_to(value, inside.shape + event)
    told = (f"{_index(r)}{':' if event else ' is'} {_shown(value[tuple(r)])}" for r in outside)
    values = first_few(list(told), 3)
    return (
        f"site {name!r}: {len(outside)} of {inside.size} data lie outside the support of its "
        f"distribution ({_support_words(support)}): {values}"
    )


def _by_datum(inside: np.ndarray, rows: tuple[int, ...]) -> np.ndarray:
    """Whether each datum is inside the support, of verdicts for each bound that it faces."""
    more = inside.ndim - len(rows)
    wide = (axis for axis, size in enumerate(rows, more) if size < inside.shape[axis])
    return np.reshape(inside.all(axis=(*range(more), *wide)), rows)


def _shown(value: np.ndarray) -> str:
    return f"{value:g}" if np.ndim(value) == 0 else str(value)


# By what a bound is called: the words for it, with the bounds in place of the letters.
_RANGES = {
    "Positive": "numbers above {a}",
    "SoftplusPositive": "numbers above {a}",
    "GreaterThan": "numbers above {a}",
    "Nonnegative": "numbers from {a} on",
    "GreaterThanEq": "numbers from {a} on",
    "LessThan": "numbers below {b}",
    "LessThanEq": "numbers up to {b}",
    "Interval": "numbers from {a} to {b}",
    "UnitInterval": "numbers from {a} to {b}",
    "OpenInterval": "numbers between {a} and {b}",
    "IntegerNonnegative": "whole numbers from {a} on",
    "IntegerPositive": "whole numbers from {a} on",
    "IntegerGreaterThan": "whole numbers from {a} on",
    "IntegerInterval": "whole numbers from {a} to {b}",
    "Boolean": "0 and 1",
}


def _support_words(support: Any) -> str:
    base = getattr(support, "base_constraint", support)
    name = type(base).__name__.lstrip("_")
    if name not in _RANGES:
        return re.sub("(?<=[a-z])(?=[A-Z])", " ", name).lower()
    low, high = (_bound_words(getattr(base, k, None)) for k in ("lower_bound", "upper_bound"))
    return _RANGES[name].format(a=low, b=high)


def _bound_words(bound: Any) -> str:
    one = np.ndim(bound) == 0 or np.ptp(bound) == 0
    return f"{np.min(bound):g}" if bound is not None and one else "its own bound"


def _index(row: np.ndarray) -> str:
    index = tuple(int(i) for i in row)
    if not index:
        return "the only value"
    return f"row {index[0]}" if len(index) == 1 else f"index {index}"
