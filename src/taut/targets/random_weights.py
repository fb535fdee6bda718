"""Networks whose weights have priors: NumPyro's `random_flax_module` and its like.

They declare all weights as one `numpyro.param`, draw those with a prior by `numpyro.sample`, and
write a `ParamShape` in the place of each of these into the param's dictionary, after the fact. What
a trace holds of the param is then what is left to be learned, with shapes in place of the rest.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
from numpyro.contrib.module import ParamShape

from taut._core.dependence import dependence
from taut.targets.site_log_prob import site_log_prob

Trace = Mapping[str, dict]


def is_drawn(value: Any) -> bool:
    """Whether a part of a param is the place of a weight that is drawn."""
    return isinstance(value, ParamShape)


def has_drawn(value: Any) -> bool:
    """Whether any part of a param is."""
    return any(is_drawn(leaf) for leaf in jax.tree.leaves(value, is_leaf=is_drawn))


def drawn_weights(trace: Trace) -> dict[str, Any]:
    """Return the params of networks all of whose weights are drawn, to be given to later runs.

    A network that is given this does not make first values for weights that it draws.
    """
    params = {n: m["value"] for n, m in trace.items() if m["type"] == "param"}
    return {n: v for n, v in params.items() if has_drawn(v) and not jax.tree.leaves(v)}


def left_to_learn(trace: Trace, run: Callable[[dict[str, Any]], Trace]) -> list[str]:
    """Name the params, and states that change from run to run, that a model depends on.

    Args:
        trace: one run of the model.
        run: runs it with these values of params.
    """
    kinds = {n: m["type"] for n, m in trace.items() if m["type"] in ("param", "mutable")}
    params = {n: trace[n]["value"] for n, kind in kinds.items() if kind == "param"}
    unread = _unread(params, run)
    return [n for n in kinds if n not in unread]


def _unread(params: dict[str, Any], run: Callable[[dict[str, Any]], Trace]) -> set[str]:
    # Networks of Equinox leave the weights that they draw among the values, and do not read them.
    owners = [name for name in sorted(params) for _ in jax.tree.leaves(params[name])]
    if not owners:
        return set(params)
    try:
        read = dependence(jax.make_jaxpr(lambda given: _results(run(given)))(params))
    except Exception:  # a model that takes a param for a plain number
        return set()
    return set(params) - {owners[place] for places in read for place in places}


def _results(trace: Trace) -> list[Any]:
    sites = trace.values()
    densities = [site_log_prob(site) for site in sites if site["type"] == "sample"]
    values = [site["value"] for site in sites if site["type"] in ("sample", "deterministic")]
    return [densities, values]
