"""What in a guide depends on which of its parameters and drawn values."""

import dataclasses
from typing import Any

import jax

from taut._core.dependence import dependence
from taut.checking.reading import Reading
from taut.checking.running import Call, Given, Run, is_delta, log_prob, run


@dataclasses.dataclass(frozen=True)
class Flow:
    """Dependence between the parts of a guide, by name.

    Each dictionary goes from what depends to the names of the parameters and drawn sites it
    depends on; the key that random numbers come from is called "".

    Attributes:
        laws: for each drawn site, what its log density depends on.
        slopes: the same, counting only what a gradient passes through.
        computed: for each computed site of the model, what its value and density depend on.
        computed_slopes: the same, counting only what a gradient passes through.
        factors: for each factor, what it depends on.
        bounds: for each parameter, what its constraint depends on.
    """

    laws: dict[str, frozenset[str]]
    slopes: dict[str, frozenset[str]]
    computed: dict[str, frozenset[str]]
    computed_slopes: dict[str, frozenset[str]]
    factors: dict[str, frozenset[str]]
    bounds: dict[str, frozenset[str]]

    def used(self) -> frozenset[str]:
        """The drawn sites that other sites are made from."""
        parents = frozenset().union(*self.computed.values())
        for name, names in self.laws.items():
            parents |= names - {name}
        return parents

    def reached(self) -> frozenset[str]:
        """Everything that a gradient of log q or of a value passes through."""
        parts = (*self.slopes.values(), *self.computed_slopes.values())
        return frozenset().union(*parts, *self.factors.values(), *self.bounds.values())

    def mentioned(self) -> frozenset[str]:
        """Everything that log q or a value depends on, gradient or not."""
        parts = (*self.laws.values(), *self.computed.values())
        return frozenset().union(*parts, *self.factors.values(), *self.bounds.values())

    def sampler(self) -> frozenset[str]:
        """Everything that the drawn and computed values depend on, by a gradient."""
        return frozenset().union(*self.slopes.values(), *self.computed_slopes.values())


def drawn_sites(guide: Reading) -> list[str]:
    """The sites of a guide whose values are drawn, in its order."""
    return [n for n, s in guide.latents().items() if not s.computed]


def trace_flow(call: Call, guide: Reading, model: Reading, key: Any) -> Flow:
    """Trace a guide with its parameters and drawn values as inputs."""
    params = {name: parameter.value for name, parameter in guide.parameters.items()}
    drawn = drawn_sites(guide)
    latents = model.latents()

    def parts(params: dict, values: dict, key: Any) -> dict[str, dict]:
        result = run(call, key, params, Given(values, {}))
        return _parts(result, drawn, set(latents))

    def draw(key: Any) -> dict:
        trace = run(call, key, params).trace
        return {name: trace[name]["value"] for name in drawn}

    values = jax.eval_shape(draw, key)
    closed, shapes = jax.make_jaxpr(parts, return_shape=True)(params, values, key)
    inputs = _leaf_names((params, values, key))
    every = [{inputs[i] for i in found} for found in dependence(closed)]
    smooth = [{inputs[i] for i in found} for found in dependence(closed, gradient=True)]
    groups = {
        "every": {group: {} for group in shapes},
        "smooth": {group: {} for group in shapes},
    }
    flat = jax.tree_util.tree_flatten_with_path(shapes)[0]
    for (path, _), names, slopes in zip(flat, every, smooth, strict=True):
        group, name = path[0].key, path[1].key
        for kind, found in (("every", names), ("smooth", slopes)):
            held = groups[kind][group].get(name, frozenset())
            groups[kind][group][name] = held | found
    every_groups, smooth_groups = groups["every"], groups["smooth"]
    return Flow(
        laws=every_groups["laws"],
        slopes=smooth_groups["laws"],
        computed=every_groups["computed"],
        computed_slopes=smooth_groups["computed"],
        factors=every_groups["factors"],
        bounds=every_groups["bounds"],
    )


def _parts(result: Run, drawn: list[str], latents: set[str]) -> dict[str, dict]:
    computed = {}
    for name, message in result.trace.items():
        if name in latents and (is_delta(message) or message["type"] == "deterministic"):
            computed[name] = [message["value"]]
            if is_delta(message):
                computed[name].append(log_prob(message))
    laws = {name: log_prob(result.trace[name]) for name in drawn}
    return {
        "laws": laws,
        "computed": computed,
        "factors": {name: log_prob(message) for name, message in result.factors().items()},
        "bounds": {name: c for name, _, c in result.declarations if c is not None},
    }


def _leaf_names(inputs: tuple[dict, dict, Any]) -> list[str]:
    params, values, key = inputs
    names = [p[0].key for p, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
    names += [p[0].key for p, _ in jax.tree_util.tree_flatten_with_path(values)[0]]
    return names + [""] * len(jax.tree_util.tree_leaves(key))
