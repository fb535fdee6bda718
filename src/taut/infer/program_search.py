"""Fitting a guide that is a function of the user's, with nothing to choose."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro import handlers

from taut.guides.pieces.point import point_of
from taut.guides.program import ProgramGuide
from taut.infer.params import Opaque, ParamSite, constrain, initial_value, read_param
from taut.infer.sticking_elbo import StickingELBO
from taut.infer.trace_elbo import log_probs
from taut.infer.traces import draw_pair, is_latent, run_guide
from taut.loop.adam import BLOCK, AutomaticAdam, Block
from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.stages import Outcome
from taut.loop.verdict import Verdict
from taut.predictive.calls import bound_call
from taut.targets.numpyro_model import WholePlates
from taut.targets.target import Target

PARTICLES = 64
"""Draws of the guide a step."""

JUDGED = 1024
"""Draws by which two sets of parameters are compared."""

TOLERANCE = 0.01

SUMMARY_DRAWS = 4096
"""Draws behind the mean and the spread of a fitted guide."""


class GuideCall:
    """A model and a guide with the arguments both are called with, minibatches whole.

    Args:
        target: the model with its data.
        guide: the user's function.
    """

    def __init__(self, target: Target, guide: Callable):
        self.target = target
        model, arguments = bound_call(target)
        leaves = [jnp.asarray(leaf) for leaf in target.data]
        self.args, self.kwargs = arguments.rebuild(leaves)
        self.given_model, self.given_guide = model, guide
        self.model, self.guide = WholePlates(model), WholePlates(guide)

    def pair(self, key: Any, params: dict[str, Any]) -> tuple[dict, dict]:
        """Draw from the guide and run the model on it; return the model's trace, the guide's."""
        found = draw_pair(key, params, self.model, self.guide, self.args, self.kwargs)
        return found[0], found[1]

    def latent(self, values: dict[str, Any]) -> tuple[Any, Any]:
        """Latent vector of named values, and log|det d values / d z|."""
        shaped = {
            site.name: jnp.broadcast_to(values[site.name], site.shape)
            for site in self.target.program.sites
        }
        return self.target.unconstrain(shaped)

    def draw(self, key: Any, params: dict[str, Any]) -> tuple[Any, Any]:
        """One draw: its latent vector and log density there."""
        _, guide_trace = self.pair(key, params)
        names = [site.name for site in self.target.program.sites]
        z, jacobian = self.latent({name: guide_trace[name]["value"] for name in names})
        return z, sum(log_probs(guide_trace).values(), jnp.zeros(())) + jacobian

    def log_prob(self, z: Any, params: dict[str, Any]) -> Any:
        """Log density at a latent vector."""
        values = self.target.constrain(z)
        named = {site.name: values[site.name] for site in self.target.program.sites}
        trace = run_guide(
            self.guide, jax.random.key(0), {**params, **named}, self.args, self.kwargs
        )
        return sum(log_probs(trace).values(), jnp.zeros(())) + self.latent(named)[1]

    def knows_density(self, params: dict[str, Any]) -> bool:
        """Whether the guide draws every site of the model and nothing else."""
        found: list[set[str]] = []

        def read(key: Any) -> None:
            _, trace = self.pair(key, params)
            found.append({n for n, s in trace.items() if is_latent(s) and not point_of(s["fn"])})

        jax.eval_shape(read, jax.random.key(0))
        return found[0] == {site.name for site in self.target.program.sites}


class ProgramSearch:
    """Fits a guide function: the race of step sizes, then draws.

    Args:
        call: the model and the guide with their arguments.
        monitor: counts gradients and keeps the time.
        seed: where all random numbers come from.
    """

    def __init__(self, call: GuideCall, monitor: Monitor, seed: int):
        self._call = call
        self._monitor = monitor
        self._seed = seed
        self.starts, self.found, self.settled_loss = 1, (), np.inf
        self._sites, self._start = self._read()

    def run(self) -> Outcome:
        """Fit.

        Raises:
            OutOfTime: the budget is spent; the monitor has the best so far.
        """
        call = self._call
        objective = StickingELBO(PARTICLES)
        programs = (call.model, call.guide)

        def loss(raw: dict, key: Any) -> Any:
            return objective.loss(key, self._params(raw), *programs, *call.args, **call.kwargs)

        def weight(raw: dict, key: Any) -> Any:
            model_trace, guide_trace = call.pair(key, self._params(raw))
            parts = log_probs(model_trace).values(), log_probs(guide_trace).values()
            return sum(parts[0], jnp.zeros(())) - sum(parts[1], jnp.zeros(()))

        def weights(raw: dict, key: Any) -> Any:
            keys = jax.random.split(key, JUDGED)
            return jax.lax.map(lambda k: weight(raw, k), keys, batch_size=PARTICLES)

        if not self._start:
            return Outcome(
                self.fitted({}), Verdict(True, "converged", "the guide has no parameters to fit")
            )
        adam = AutomaticAdam(loss, weights, TOLERANCE, self._seed, self._watch)
        try:
            best, verdict = adam.run(self._start)
        except (OutOfTime, KeyboardInterrupt):
            if adam.best is not None:
                self._monitor.best = self.fitted(adam.best.params)
            raise
        self.settled_loss = -best.elbo
        return Outcome(self.fitted(best.params), verdict)

    def fallback(self) -> ProgramGuide:
        """Return the guide at its first parameters, for a fit stopped before its first block."""
        return self.fitted(self._start)

    def needs_double(self, outcome: Outcome) -> str:
        """Return an empty string: a guide function runs in the precision that is set."""
        return ""

    def fitted(self, raw: dict[str, Any]) -> ProgramGuide:
        """Make a guide of unconstrained parameters, with what is needed to draw from it."""
        call, params = self._call, self._params(raw)
        draws = jax.jit(jax.vmap(lambda key: call.draw(key, params)))

        def sampler(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
            z, log_q = draws(jax.random.split(jax.random.key(seed), count))
            return np.asarray(z, float), np.asarray(log_q, float)

        density = None
        if call.knows_density(params):
            compiled = jax.jit(jax.vmap(lambda z: call.log_prob(z, params)))

            def density(z: np.ndarray) -> np.ndarray:
                flat = jnp.asarray(z).reshape(-1, z.shape[-1])
                return np.asarray(compiled(flat), float).reshape(z.shape[:-1])

        z, _ = sampler(self._seed, SUMMARY_DRAWS)
        plain = jax.tree.map(np.asarray, params)
        return ProgramGuide(plain, z.mean(axis=0), z.std(axis=0), sampler, density)

    def _params(self, raw: dict[str, Any]) -> dict[str, Any]:
        call = self._call
        return constrain(self._sites, raw, call.model, call.guide, call.args, call.kwargs)

    def _read(self) -> tuple[tuple[ParamSite, ...], dict[str, Any]]:
        call = self._call

        def run(program: Callable) -> dict[str, dict]:
            seeded = handlers.seed(program, rng_seed=self._seed)
            trace = handlers.trace(seeded).get_trace(*call.args, **call.kwargs)
            return {n: s for n, s in trace.items() if s["type"] == "param"}

        found: list[tuple[ParamSite, ...]] = []

        def describe(one: Any) -> None:
            found.append(tuple(map(read_param, run(Opaque(call.guide, one)).values())))

        jax.eval_shape(describe, jnp.ones(()))
        return found[0], {name: initial_value(site) for name, site in run(call.guide).items()}

    def _watch(self, block: Block) -> None:
        self._monitor.note(BLOCK * PARTICLES, -block.elbo, f"adam {block.rate:g}", JUDGED)
