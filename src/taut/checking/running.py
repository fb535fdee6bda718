"""Running a guide, and the model on what the guide drew.

A program runs under JAX tracing with its arguments as they are, so it may ask for their values, as
it may where it is fitted.
"""

import collections
import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpyro
from numpyro import handlers
from numpyro.distributions.distribution import Distribution
from numpyro.primitives import Messenger

from taut.checking.mistakes import MisstatedError, named, no_statements, refuse
from taut.guides.pieces.point import point_of
from taut.targets.abstract_run import improper_value
from taut.targets.site_log_prob import site_log_prob


@dataclasses.dataclass(frozen=True)
class Call:
    """A program and the arguments it is called with."""

    function: Callable
    args: tuple
    kwargs: dict

    @property
    def label(self) -> str:
        """The name of the function."""
        return getattr(self.function, "__name__", type(self.function).__name__)


@dataclasses.dataclass(frozen=True)
class Run:
    """What one run of a program did.

    Attributes:
        trace: NumPyro's record of each site.
        declarations: every `numpyro.param` statement that was met: name, value, constraint.
        repeated: how often a name was declared by one statement, if more than once.
    """

    trace: dict[str, dict]
    declarations: tuple[tuple[str, Any, Any], ...]
    repeated: dict[str, int]

    def latents(self) -> dict[str, dict]:
        """The sample sites that are not observed."""
        return {n: m for n, m in self.trace.items() if m["type"] == "sample" and not observed(m)}

    def factors(self) -> dict[str, dict]:
        """The `numpyro.factor` statements."""
        return {n: m for n, m in self.trace.items() if is_factor(m)}


def run(call: Call, key: Any, params: dict | None = None, given: "Given | None" = None) -> Run:
    """Run a program once.

    Args:
        call: the program.
        key: where its random numbers come from.
        params: values of parameters in place of their first ones.
        given: values that some of its sites and plates are to take.

    Raises:
        MisstatedError: a statement of it cannot be run.
    """
    recorder = _Declarations()
    with numpyro.validation_enabled(False), handlers.trace() as trace, recorder:
        with handlers.seed(rng_seed=key), _StandIn(), _Parameters(params or {}):
            with given if given is not None else Given({}, {}):
                returned = _called(call, recorder)
    if not trace:
        problem = no_statements(call.label, returned)
        if problem is not None:
            raise MisstatedError(problem)
    return Run(dict(trace), tuple(recorder.found), recorder.repeated())


def _called(call: Call, recorder: "_Declarations") -> Any:
    try:
        return call.function(*call.args, **call.kwargs)
    except TypeError as error:
        problem = named(error, recorder.unset)
        if problem is None:
            raise
        raise MisstatedError(problem) from error


def observed(message: dict) -> bool:
    """Whether a sample site was given its value by the program; factors count as observed."""
    return bool(message["is_observed"])


def is_factor(message: dict) -> bool:
    """Whether a site comes from `numpyro.factor`."""
    return message["type"] == "sample" and type(message["fn"]).__name__ == "Unit"


def distribution_parts(fn: Distribution) -> list[Distribution]:
    """A distribution and all that it is made of."""
    parts = [fn]
    for value in vars(fn).values():
        for item in value if isinstance(value, (list, tuple)) else (value,):
            if isinstance(item, Distribution):
                parts += distribution_parts(item)
    return parts


def innermost(fn: Distribution) -> Distribution:
    """A distribution without its wrappers (expanded, independent, masked)."""
    while type(fn).__name__ in ("ExpandedDistribution", "Independent", "MaskedDistribution"):
        fn = fn.base_dist  # pyright: ignore[reportAttributeAccessIssue]
    return fn


def is_delta(message: dict) -> bool:
    """Whether a site is a `Delta`, so that its value is computed, not drawn."""
    return message["type"] == "sample" and point_of(message["fn"]) is not None


def log_prob(message: dict) -> Any:
    """The log probability of a site, summed, scaled as the program says; a scalar."""
    point = point_of(message["fn"])
    if point is not None:
        # The comparison of a value with itself in Delta.log_prob can fail by a rounding, where XLA
        # computes the value twice.
        density = jnp.broadcast_to(jnp.asarray(point.log_density), message["fn"].batch_shape)
        return jnp.sum(density * (1.0 if message["scale"] is None else message["scale"]))
    return jnp.sum(site_log_prob(message))


def unscaled_log_prob(message: dict) -> Any:
    """The same, whatever weight the program gives the site."""
    return log_prob({**message, "scale": None})


class Given(Messenger):
    """Gives latent sites and plates the values they had elsewhere."""

    def __init__(self, values: dict[str, Any], plates: dict[str, Any]):
        self.values, self.plates = values, plates
        super().__init__()

    def process_message(self, msg: dict) -> None:
        """Set the value of a known site."""
        if msg["type"] == "sample" and not msg["is_observed"] and msg["name"] in self.values:
            msg["value"] = self.values[msg["name"]]
        if msg["type"] == "plate" and msg["value"] is None and msg["name"] in self.plates:
            indices = self.plates[msg["name"]]
            if indices.shape[0] == msg["args"][1]:
                msg["value"] = indices


class _StandIn(Messenger):
    # An improper distribution cannot be drawn from; any value in its support will do.
    def process_message(self, msg: dict) -> None:
        if msg["value"] is None:
            msg["value"] = improper_value(msg)


class _Parameters(Messenger):
    def __init__(self, values: dict[str, Any]):
        self.values = values
        super().__init__()

    def process_message(self, msg: dict) -> None:
        if msg["type"] == "param" and msg["name"] in self.values:
            msg["value"] = jax.tree_util.tree_map(jnp.asarray, self.values[msg["name"]])


class _Declarations(Messenger):
    def __init__(self):
        self.found: list[tuple[str, Any, Any]] = []
        self.unset: list[str] = []
        self._places: list[tuple] = []
        super().__init__()

    def postprocess_message(self, msg: dict) -> None:
        refuse(msg)
        if msg["type"] != "param":
            return
        # A parameter asked for before it has a value, as modules of networks do, comes as None.
        if msg["value"] is None:
            self.unset.append(msg["name"])
            return
        self.found.append((msg["name"], msg["value"], msg["kwargs"].get("constraint")))
        self._places.append((msg["name"], *_stack()))

    def repeated(self) -> dict[str, int]:
        """How often each name was declared by one statement, if more than once."""
        counts = collections.Counter(self._places)
        return {place[0]: count for place, count in counts.items() if count > 1}


def _stack() -> list[tuple[Any, int]]:
    """The calls that led here: in a loop the same each time."""
    frame, calls = sys._getframe(1), []
    while frame is not None:
        calls.append((frame.f_code, frame.f_lasti))
        frame = frame.f_back
    return calls
