"""The arguments of a guide's distributions: whether they are valid, and what they are made from."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.distributions import Uniform, constraints

from taut._core.dependence import dependence
from taut._core.errors import first_few
from taut.checking.running import Call, distribution_parts, run
from taut.checking.words import constraint_line, support_words

WORDS = {
    "nonnegative": "positive",
    "softplus_positive": "positive",
    "ordered": "in order, low below high",
}

_MATRICES = frozenset({"covariance_matrix", "precision_matrix"})


@dataclasses.dataclass(frozen=True)
class Argument:
    """An argument of a distribution that has a range to keep.

    Attributes:
        label: site, distribution, argument, and the range in words.
        value: its value.
        valid: where it is in its range.
    """

    label: tuple[str, str, str, str]
    value: Any
    valid: Any


def read_arguments(latents: dict[str, dict]) -> list[Argument]:
    """List the arguments of the distributions of some traced sites."""
    found = []
    for site, message in latents.items():
        for part in distribution_parts(message["fn"]):
            family = type(part).__name__
            for name, constraint in part.arg_constraints.items():
                if name not in vars(part) or constraints.is_dependent(constraint):
                    continue
                if name == "scale_tril" and not _MATRICES.isdisjoint(vars(part)):
                    continue  # made from the matrix that was given
                value = vars(part)[name]
                valid = constraint(value) if constraint is not constraints.real else True
                found.append(
                    Argument((site, family, name, support_words(constraint)), value, valid)
                )
            if isinstance(part, Uniform):
                ordered = jnp.asarray(part.low) < jnp.asarray(part.high)
                found.append(Argument((site, family, "bound", "ordered"), part.low, ordered))
    return [argument for argument in found if argument.valid is not True]


def argument_faults(call: Call, params: dict[str, Any]) -> list[str]:
    """Say which arguments of a guide's distributions are invalid at given parameters, and why.

    Args:
        call: the guide with its arguments.
        params: the values of its parameters.
    """
    labels: list[tuple[str, str, str, str]] = []

    def read(params: dict) -> tuple[list, list]:
        arguments = read_arguments(run(call, jax.random.key(0), params).latents())
        labels[:] = [argument.label for argument in arguments]
        return [a.value for a in arguments], [jnp.all(a.valid) for a in arguments]

    values, valid = read(params)
    if all(valid):
        return []
    closed = jax.make_jaxpr(lambda p: read(p)[0])(params)
    sizes = [len(jax.tree_util.tree_leaves(params[name])) for name in sorted(params)]
    leaves = np.repeat(sorted(params), sizes)
    sources = [{str(leaves[i]) for i in found} for found in dependence(closed)]
    return [
        _fault(label, value, sorted(names), params)
        for label, value, good, names in zip(labels, values, valid, sources, strict=True)
        if not good
    ]


def _fault(label: tuple[str, str, str, str], value: Any, names: list[str], params: dict) -> str:
    site, family, argument, need = label
    numbers = np.ravel(np.asarray(value))
    shown = f"{numbers[0]:.4g}" if len(numbers) == 1 else f"between {numbers.min():.4g} and "
    shown += "" if len(numbers) == 1 else f"{numbers.max():.4g}"
    made = f", made from param {first_few(names)}" if names else ""
    finite = bool(np.isfinite(numbers).all())
    wanted = WORDS.get(need, need)
    fix = "a smaller step may keep it finite"
    if finite and len(names) == 1 and np.size(params[names[0]]) == np.size(value):
        fix = f"declare {names[0]!r} with constraint={constraint_line(wanted)}"
    elif finite:
        fix = f"make it of params whose constraints keep it {wanted}"
    return f"guide site {site!r}: the {argument} of {family} is {shown} (not {wanted}){made}; {fix}"
