"""The compiled functions of one SVI problem, made once for model, guide, optimiser and shapes.

The data are arguments of every function, so new data of the same shapes trace and compile nothing.
Many steps are one compiled loop of a length chosen at run time; the random key is part of the state
and split in every step, so cutting a run into chunks changes no bit of it.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.infer.autoguide import AutoGuide as NumPyroAutoGuide

from taut._core.fingerprint import Watch
from taut._core.xla_options import known_options
from taut.checking.running import Call, is_factor
from taut.diagnostics.finding import Finding
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.guide_findings import density_findings
from taut.infer.params import (
    Opaque,
    ParamSite,
    StartAt,
    all_given,
    constrain,
    initial_value,
    read_param,
)
from taut.infer.settling import COORDINATES, THINNING
from taut.infer.shorter import shortened
from taut.infer.traces import is_latent, mutable_values, run_model
from taut.targets.arguments import Arguments
from taut.targets.oracle import compiler_options

CHUNK = 1000
"""Most steps of one compiled call."""

MOST_OUTSIDE = 20
"""Draws outside the model's support, one after another, after which a run ends."""

# Full optimisation, because steps are made by the thousand, but for the part of it that takes half
# of the time to compile and gains nothing on programs of this size.
_STEP_OPTIONS = {"xla_cpu_use_fusion_emitters": False}

# What runs once a run is not worth optimising.
_ONCE_OPTIONS = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}

KEPT = CHUNK // THINNING + 1


class SVIState(NamedTuple):
    """Where an optimisation stands.

    Attributes:
        optim_state: the optimiser's state, which holds the unconstrained parameters.
        mutable_state: values of the `numpyro.mutable` sites, or None.
        rng_key: the random key of the next step.
    """

    optim_state: Any
    mutable_state: Any
    rng_key: Any


class Problem(NamedTuple):
    """What is optimised, and how.

    Attributes:
        model: the NumPyro model.
        guide: the NumPyro guide.
        optim: the optimiser, as NumPyro wraps them.
        loss: the objective.
        static: keyword arguments of model and guide that never change.
    """

    model: Callable
    guide: Callable
    optim: Any
    loss: Any
    static: dict[str, Any]

    def initial_traces(
        self, model_key: Any, guide_key: Any, given: dict, args: tuple, kwargs: dict
    ) -> tuple[dict, dict]:
        """Run guide and model with their params at the start; return the traces of both."""
        kwargs = {**kwargs, **self.static}
        guide = handlers.seed(self.guide, rng_seed=guide_key)
        with StartAt(given):
            guide_trace = handlers.trace(guide).get_trace(*args, **kwargs)
        shared = {n: s["value"] for n, s in guide_trace.items() if s["type"] == "param"}
        params = {**shared, **mutable_values(guide_trace)}
        seen = guide_trace
        if getattr(self.loss, "multi_sample_guide", False):
            seen = {n: _first_sample(site) for n, site in guide_trace.items()}
        with StartAt(given):
            model_trace = run_model(self.model, model_key, seen, params, args, kwargs)
        return model_trace, guide_trace

    def start(self, key: Any, given: dict, args: tuple, kwargs: dict) -> SVIState:
        """Return the state before the first step; `given` is for `StartAt`."""
        key, model_key, guide_key = jax.random.split(key, 3)
        traces = self.initial_traces(model_key, guide_key, given, args, kwargs)
        raw, mutable = {}, {}
        for trace in traces:
            mutable.update(mutable_values(trace))
            raw.update({n: initial_value(s) for n, s in trace.items() if s["type"] == "param"})
        mutable = jax.tree.map(jnp.asarray, mutable)
        return SVIState(self.optim.init(raw), mutable or None, key)

    def read_params(
        self, one: Any, args: tuple, kwargs: dict
    ) -> tuple[tuple[ParamSite, ...], dict[str, Any], bool]:
        """Describe the parameters, give their shapes, and say whether log q has more than draws.

        `one` is the number 1, traced.
        """
        opaque = self._replace(model=Opaque(self.model, one), guide=Opaque(self.guide, one))
        model_key, guide_key = jax.random.split(jax.random.key(0))
        traces = opaque.initial_traces(model_key, guide_key, {}, args, kwargs)
        sites, shapes = {}, {}
        for trace in traces:
            for name, site in trace.items():
                if site["type"] == "param":
                    sites[name] = read_param(site)
                    shapes[name] = jax.tree.map(
                        lambda v: jax.ShapeDtypeStruct(jnp.shape(v), jnp.result_type(v)),
                        site["value"],
                    )
        return tuple(sites.values()), shapes, self._has_more(*traces)

    def _has_more(self, model_trace: dict, guide_trace: dict) -> bool:
        """Whether a guide of the user's own has factors, or draws what the model does not have."""
        if isinstance(self.guide, (AutoGuide, NumPyroAutoGuide)):
            return False
        return any(
            is_factor(site) or (is_latent(site) and name not in model_trace)
            for name, site in guide_trace.items()
        )

    def params(
        self, sites: tuple[ParamSite, ...], state: SVIState, args: tuple, kwargs: dict
    ) -> dict[str, Any]:
        """Return the constrained parameters of a state."""
        raw = self.optim.get_params(state.optim_state)
        kwargs = {**kwargs, **self.static}
        return constrain(sites, raw, self.model, self.guide, args, kwargs)

    def step(
        self,
        sites: tuple[ParamSite, ...],
        state: SVIState,
        args: tuple,
        kwargs: dict,
        stable: bool = False,
        forward: bool = False,
    ) -> tuple[SVIState, Any]:
        """Make one step; return the new state and the loss before it."""
        key, step_key = jax.random.split(state.rng_key)
        kwargs = {**kwargs, **self.static}

        def loss(raw: dict[str, Any]) -> tuple[Any, Any]:
            params = constrain(sites, raw, self.model, self.guide, args, kwargs)
            programs = (self.model, self.guide)
            if state.mutable_state is None:
                return self.loss.loss(step_key, params, *programs, *args, **kwargs), None
            params.update(jax.lax.stop_gradient(state.mutable_state))
            found = self.loss.loss_with_mutable_state(step_key, params, *programs, *args, **kwargs)
            new = found["mutable_state"]
            return found["loss"], state.mutable_state if new is None else new

        optim = self.optim
        advance = optim.eval_and_stable_update if stable else optim.eval_and_update
        (value, mutable), optim_state = advance(
            loss, state.optim_state, forward_mode_differentiation=forward
        )
        return SVIState(optim_state, mutable, key), value

    def evaluate(
        self, sites: tuple[ParamSite, ...], state: SVIState, args: tuple, kwargs: dict
    ) -> Any:
        """Return the loss that the next step will find."""
        _, step_key = jax.random.split(state.rng_key)
        params = self.params(sites, state, args, kwargs)
        if state.mutable_state is not None:
            params.update(state.mutable_state)
        kwargs = {**kwargs, **self.static}
        return self.loss.loss(step_key, params, self.model, self.guide, *args, **kwargs)


class SVIProgram:
    """A problem, compiled for arguments of one structure.

    Args:
        problem: what is optimised.
        arguments: only their structure and static values are kept.
        sites: the parameters.
        shapes: the shape of each parameter.
        has_more: whether the guide has factors, or draws what the model does not have.
        watch: notices changes in what model and guide read.
    """

    def __init__(
        self,
        problem: Problem,
        arguments: Arguments,
        sites: tuple[ParamSite, ...],
        shapes: dict[str, Any],
        has_more: bool,
        watch: Watch,
    ):
        self.problem = problem
        self.sites = sites
        self.shapes = shapes
        self._has_more = has_more
        self.watch = watch
        self._findings: tuple[Finding, ...] | None = None
        self.rebuild = arguments.without_data().rebuild
        self._compiled: dict[Any, Callable] = {}

    def findings(self, leaves: tuple) -> tuple[Finding, ...]:
        """Say what of the guide's density the loss does not show; read at the first data."""
        if self._findings is None:
            self._findings = self._read(leaves) if self._has_more else ()
        return self._findings

    @property
    def unbounded(self) -> str:
        """Why the loss has no lower bound, if a factor of the guide leaves it without one."""
        factors = (f for f in self._findings or () if f.name == "factor" and f.level == "bad")
        return " ".join(f"{found.message} {found.advice}." for found in factors)

    def _read(self, leaves: tuple) -> tuple[Finding, ...]:
        args, kwargs = self.rebuild(leaves)
        kwargs = {**kwargs, **self.problem.static}
        guide, model = (Call(f, args, kwargs) for f in (self.problem.guide, self.problem.model))
        try:
            with self.watch.running():
                return density_findings(guide, model)
        except Exception:  # what cannot be read in parts can still be fitted
            return ()

    def start(self, leaves: tuple, key: Any, init_params: dict | None) -> SVIState:
        """Return the state before the first step."""
        return self._jitted(self._start)(leaves, key, all_given(init_params, self.shapes))

    def params(self, leaves: tuple, state: SVIState) -> dict[str, Any]:
        """Return the constrained parameters of a state."""
        return self._jitted(self._params)(leaves, state)

    def evaluate(self, leaves: tuple, state: SVIState) -> Any:
        """Return the loss that the next step will find."""
        return self._jitted(self._evaluate)(leaves, state)

    def step(
        self, leaves: tuple, state: SVIState, stable: bool, forward: bool
    ) -> tuple[SVIState, Any]:
        """Make one step."""
        return self._jitted(self._step, stable, forward)(leaves, state)

    def steps(
        self,
        leaves: tuple,
        state: SVIState,
        begin: int,
        count: int,
        outside: Any,
        stable: bool,
        forward: bool,
        short: bool,
    ) -> tuple[SVIState, Any, Any, Any, Any, Any]:
        """Make up to `CHUNK` steps; stop before one whose loss or parameters are not finite.

        A loss of plus infinity means a draw outside the model's support. Its gradient says nothing,
        so the step is passed over; the end is only when many such draws come one after another.

        Args:
            leaves: the data.
            state: where to start.
            begin: steps made before, which decides which iterates are kept.
            count: how many steps to make.
            outside: how many steps just before drew outside the support.
            stable: pass over steps that are not finite instead.
            forward: differentiate forwards.
            short: make every step a tenth as long.

        Returns:
            The state; how many steps were tried; whether to go on; `outside` for the next call;
            losses (CHUNK,), of which as many are filled as were tried; iterates
            (KEPT, coordinates), a row for each block of 50 steps.
        """
        steps = self._jitted(self._steps, stable, forward, short)
        return steps(leaves, state, begin, count, outside)

    def _start(self, leaves: tuple, key: Any, given: dict) -> SVIState:
        return self.problem.start(key, given, *self.rebuild(leaves))

    def _params(self, leaves: tuple, state: SVIState) -> dict[str, Any]:
        return self.problem.params(self.sites, state, *self.rebuild(leaves))

    def _evaluate(self, leaves: tuple, state: SVIState) -> Any:
        return self.problem.evaluate(self.sites, state, *self.rebuild(leaves))

    def _step(self, stable: bool, forward: bool, leaves: tuple, state: SVIState) -> Any:
        args, kwargs = self.rebuild(leaves)
        return self.problem.step(self.sites, state, args, kwargs, stable, forward)

    def _steps(
        self,
        stable: bool,
        forward: bool,
        short: bool,
        leaves: tuple,
        state: SVIState,
        begin: Any,
        count: Any,
        outside: Any,
    ) -> Any:
        first = self._coordinates(state)
        losses = jnp.full((CHUNK,), jnp.nan, jnp.result_type(float))
        kept = jnp.zeros((KEPT, len(first)), first.dtype)

        def goes_on(carry: Any) -> Any:
            tried, going = carry[:2]
            return going & (tried < count)

        def advance(carry: Any) -> Any:
            tried, _, outside, old, losses, kept = carry
            new, loss = self._step(stable, forward, leaves, old)
            if short:
                optim_state = shortened(self.problem.optim, old.optim_state, new.optim_state)
                new = new._replace(optim_state=optim_state)
            raw = self.problem.optim.get_params(new.optim_state)
            finite = jnp.isfinite(loss)
            for leaf in jax.tree.leaves(raw):
                finite &= jnp.isfinite(leaf).all()
            finite |= stable
            missed = jnp.isposinf(loss) & ~finite
            outside = (outside + 1) * missed
            state = jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)
            key = jnp.where(finite | missed, new.rng_key, old.rng_key)
            losses = losses.at[tried].set(loss.astype(losses.dtype))
            row = (begin + tried) // THINNING - begin // THINNING
            kept = kept.at[row].set(self._coordinates(state))
            going = finite | (missed & (outside < MOST_OUTSIDE))
            return tried + 1, going, outside, state._replace(rng_key=key), losses, kept

        outside = jnp.asarray(outside, jnp.int32)
        carry = (jnp.zeros((), jnp.int32), jnp.ones((), bool), outside, state, losses, kept)
        tried, going, outside, state, losses, kept = jax.lax.while_loop(goes_on, advance, carry)
        return state, tried, going, outside, losses, kept

    def _coordinates(self, state: SVIState) -> Any:
        raw = self.problem.optim.get_params(state.optim_state)
        flat = [jnp.ravel(leaf) for leaf in jax.tree.leaves(raw)]
        joined = jnp.concatenate(flat) if flat else jnp.zeros((0,))
        stride = -(-len(joined) // COORDINATES) or 1
        return joined[::stride]

    def _jitted(self, function: Callable, *static: bool) -> Callable:
        key = (function.__name__, static)
        if key not in self._compiled:

            def traced(*args: Any) -> Any:
                # Tracing runs the user's functions, which may change what they read.
                with self.watch.running():
                    return function(*static, *args)

            if function == self._steps:
                options: Any = _STEP_OPTIONS
            elif function in (self._start, self._params):
                options = _ONCE_OPTIONS
            else:
                options = compiler_options(narrow=True)
            on_cpu = jax.default_backend() == "cpu"
            options = known_options(options) if on_cpu else None
            self._compiled[key] = jax.jit(traced, compiler_options=options)
        return self._compiled[key]


def _first_sample(site: dict) -> dict:
    if site["type"] not in ("sample", "deterministic") or jnp.size(site["value"]) == 0:
        return site
    return {**site, "value": site["value"][0]}
