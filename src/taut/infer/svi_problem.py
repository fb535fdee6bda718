"""What SVI optimises and one step of it, to be traced into compiled functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from numpyro import handlers
from numpyro.optim import _NumPyroOptim

from taut._core.gradients import value_and_grad
from taut._core.retraced import retraced
from taut._core.straight import straight
from taut.infer.params import (
    Opaque,
    ParamSite,
    StartAt,
    constrain,
    initial_value,
    read_param,
    shapes_of,
)
from taut.infer.traces import mutable_values, run_model


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
    ) -> tuple[tuple[ParamSite, ...], dict[str, Any]]:
        """Describe the parameters and give their shapes.

        `one` is the number 1, traced.
        """
        opaque = self._replace(model=Opaque(self.model, one), guide=Opaque(self.guide, one))
        model_key, guide_key = jax.random.split(jax.random.key(0))
        traces = opaque.initial_traces(model_key, guide_key, {}, args, kwargs)
        sites, shapes = {}, {}
        for program, trace in zip((opaque.model, opaque.guide), traces, strict=True):
            for name, site in trace.items():
                if site["type"] == "param":
                    sites[name] = read_param(site)
                    shapes[name] = shapes_of(site["value"], program.handed[name])
        return tuple(sites.values()), shapes

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
        kwargs = {**kwargs, **self.static}

        def loss(raw: dict[str, Any], key: Any) -> tuple[Any, Any]:
            params = constrain(sites, raw, self.model, self.guide, args, kwargs)
            programs = (self.model, self.guide)
            if state.mutable_state is None:
                return self.loss.loss(key, params, *programs, *args, **kwargs), None
            params.update(jax.lax.stop_gradient(state.mutable_state))
            found = self.loss.loss_with_mutable_state(key, params, *programs, *args, **kwargs)
            new = found["mutable_state"]
            return found["loss"], state.mutable_state if new is None else new

        def with_next_key(raw: dict[str, Any]) -> tuple[Any, Any]:
            # Split where the programs split on, so that it is one chain of splits.
            next_key, key = jax.random.split(state.rng_key)
            value, mutable = loss(raw, key)
            return value, (mutable, next_key)

        optim, before = self.optim, state.optim_state
        if stable or forward or not _only_takes_gradients(optim):
            next_key, key = jax.random.split(state.rng_key)
            advance = optim.eval_and_stable_update if stable else optim.eval_and_update
            once = retraced(lambda raw: loss(raw, key), straight)
            (value, mutable), after = advance(once, before, forward_mode_differentiation=forward)
        else:
            (value, (mutable, next_key)), slope = value_and_grad(
                retraced(with_next_key, straight), optim.get_params(before), has_aux=True
            )
            after = optim.update(slope, before, value=value)
        return SVIState(after, mutable, next_key), value

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


def _only_takes_gradients(optim: Any) -> bool:
    """Whether an optimiser leaves it to NumPyro how the loss is differentiated."""
    own = getattr(optim.eval_and_update, "__func__", None)
    return own is _NumPyroOptim.eval_and_update


def _first_sample(site: dict) -> dict:
    if site["type"] not in ("sample", "deterministic") or jnp.size(site["value"]) == 0:
        return site
    return {**site, "value": site["value"][0]}
