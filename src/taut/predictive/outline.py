"""What a model's forward run holds: names, shapes and plates, seen without computing anything."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from numpyro import handlers

from taut._core.errors import InputError, first_few
from taut._core.fingerprint import Watch
from taut.predictive.forward import drawn_values, is_drawable, is_observed
from taut.targets.abstract_run import improper_value, is_improper, run_abstractly
from taut.targets.arguments import Arguments
from taut.targets.indices import IndexCheck, index_checks
from taut.targets.numpyro_model import WholePlates
from taut.targets.random_weights import left_to_learn


@dataclasses.dataclass(frozen=True)
class Outline:
    """The sites of one call of a model.

    Attributes:
        shapes: shape of the value of each sample site and deterministic value.
        dims: names of the plates along the axes of each, None where there is none.
        observed: the sites that have data in this call.
        improper: the latents whose distribution cannot be sampled.
        scanned: the sites inside a scan, whose leading axis may go on past what was fitted.
        params: names of params that the model depends on, which have no distribution.
        indices: where data may lie outside what they index.
    """

    shapes: Mapping[str, tuple[int, ...]]
    dims: Mapping[str, tuple[str | None, ...]]
    observed: frozenset[str]
    improper: tuple[str, ...]
    scanned: frozenset[str]
    params: tuple[str, ...]
    indices: tuple[IndexCheck, ...]

    def check_given(self, given: Mapping[str, tuple[int, ...]]) -> None:
        """Check that latents have the shapes they were fitted with.

        Raises:
            InputError: a latent has another shape in this call, or none is given and it has no
                proper prior to draw it from.
        """
        problems = [
            _other_shape(name, shape, self.shapes[name])
            for name, shape in given.items()
            if name in self.shapes and not self._fits(name, shape)
        ]
        missing = [name for name in self.improper if name not in given]
        if missing:
            problems.append(
                f"the prior of {first_few([repr(n) for n in missing])} is improper, so it cannot "
                "be drawn from; give the site a proper distribution"
            )
        if self.params:
            problems.append(
                f"the model has numpyro.param sites: {first_few(self.params)}. They have no "
                "distribution to draw from: use numpyro.sample, or pass a fixed value"
            )
        if problems:
            raise InputError(problems)

    def _fits(self, name: str, shape: tuple[int, ...]) -> bool:
        mine = self.shapes[name]
        if mine == shape:
            return True
        return name in self.scanned and mine[1:] == shape[1:] and mine[0] > shape[0]


def outline(
    model: Callable, arguments: Arguments, watch: Watch
) -> tuple[Outline, Arguments, tuple[str, ...]]:
    """Run a model abstractly and describe the call.

    Returns:
        The outline, the arguments with those held static whose value the model reads, and their
        names.

    Raises:
        InputError: the model raised an error.
    """

    def read(args: tuple, kwargs: dict, tracers: list[Any]) -> Outline:
        def run(params: dict[str, Any]) -> dict[str, dict]:
            substituted = handlers.substitute(WholePlates(model), substitute_fn=improper_value)
            whole = handlers.substitute(substituted, data=params)
            seeded = handlers.seed(whole, rng_seed=jax.random.key(0))
            return handlers.trace(seeded).get_trace(*args, **kwargs)

        trace = run({})
        return _describe(trace, left_to_learn(trace, run))

    found, arguments, held, traced = run_abstractly(model, arguments, watch, read)
    return dataclasses.replace(found, indices=index_checks(traced)), arguments, held


def plate_names(message: dict) -> tuple[str | None, ...]:
    """Return the plate along each axis of a traced value, None where there is none."""
    shape = tuple(np.shape(message["value"]))
    event = message["fn"].event_dim if message["type"] == "sample" else 0
    names: list[str | None] = [None] * len(shape)
    for frame in message.get("cond_indep_stack", ()):
        axis = len(shape) - event + frame.dim
        if 0 <= axis < len(shape) and shape[axis] == frame.size:
            names[axis] = frame.name
    return tuple(names)


def _describe(trace: Mapping[str, dict], learned: list[str]) -> Outline:
    kept = {name: trace[name] for name in drawn_values(trace, {})}
    latent = {n: m for n, m in kept.items() if is_drawable(m) and not m["is_observed"]}
    return Outline(
        shapes={name: tuple(np.shape(m["value"])) for name, m in kept.items()},
        dims={name: plate_names(m) for name, m in kept.items()},
        observed=frozenset(name for name, m in kept.items() if is_observed(m)),
        improper=tuple(name for name, m in latent.items() if is_improper(m["fn"])),
        scanned=frozenset(name for name, m in kept.items() if m.get("_control_flow_done")),
        params=tuple(learned),
        indices=(),
    )


def _other_shape(name: str, fitted: tuple[int, ...], here: tuple[int, ...]) -> str:
    return (
        f"site {name!r} has shape {here} in this call and {fitted} in the fit, so its fitted "
        "values cannot be used; call the model so that it has the same shape (for known groups, "
        f"pass their number instead of counting them), or draw it anew with anew=[{name!r}]"
    )
