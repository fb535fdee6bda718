"""NUTS on a target: NumPyro's sampler, from scratch or from a fit.

A fit hands over where to start and the inverse mass matrix, which are what warm-up is for.
"""

import time
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import NUTS

from taut._core.errors import InputError
from taut._core.precision import native_dtype, precision_of
from taut._core.xla_options import OFTEN_AND_SHORT, cpu_options
from taut.loop.monitor import Monitor
from taut.loop.progress import Progress
from taut.loop.starts import NoFiniteStart, draw_starts
from taut.mcmc.nuts_run import NutsRun
from taut.posterior.pool import Pool
from taut.report.names import scalar_names
from taut.targets.constrainer import Constrainer
from taut.targets.no_start import no_start
from taut.targets.oracle import Oracle
from taut.targets.target import Target, target

WARMUP, WARMUP_FROM_FIT = 1000, 150
LARGEST_DENSE = 256
# Iterations of one compiled call; between calls the host looks at the clock.
PIECE = 50


class Started(Protocol):
    """A fit, as a start for chains."""

    @property
    def latent_pool(self) -> Pool:
        """The stored posterior draws."""
        ...


def nuts(
    model_or_target: Any,
    /,
    *args: Any,
    start: Started | None = None,
    draws: int = 1000,
    warmup: int | None = None,
    chains: int = 4,
    seed: int = 0,
    budget: float | None = None,
    progress: bool = True,
    **kwargs: Any,
) -> NutsRun:
    """Draw from a posterior with NumPyro's NUTS, all chains in one vectorised call.

    Args:
        model_or_target: a NumPyro model, a PyMC model, or a target.
        *args: the model's positional arguments.
        start: a fit of the same model: chains start from its draws with its covariance as inverse
            mass matrix, and warm-up is short.
        draws: how many draws of each chain.
        warmup: warm-up iterations; 1000 by default, 150 from a fit.
        chains: how many chains.
        seed: decides every random number.
        budget: seconds after which to stop drawing, warm-up included; None for no limit.
        progress: show a progress line on standard error.
        **kwargs: the model's keyword arguments.

    Returns:
        The draws in the model's own coordinates, with what tells whether the chains converged.

    Raises:
        InputError: problems with the model, its data or the numbers asked for.
    """
    bound = _bind(model_or_target, args, kwargs)
    steps = (WARMUP if start is None else WARMUP_FROM_FIT) if warmup is None else warmup
    _check(draws, steps, chains, budget)
    began = time.perf_counter()
    line = Progress(progress)
    line.update("warming up")
    with precision_of(bound.dtype):
        kernel, state = _start(bound, start, steps, chains, seed)
        scan = jax.jit(lambda now: jax.lax.scan(lambda s, _: _step(kernel, s), now, length=PIECE))
        advance = scan.lower(state).compile(compiler_options=cpu_options(OFTEN_AND_SHORT))
        pieces: list[Any] = []
        done = 0
        while done < steps + draws:
            state, piece = advance(state)
            pieces.append(jax.tree_util.tree_map(np.asarray, piece))
            done += PIECE
            phase = "warming up" if done < steps else "sampling"
            line.update(phase, iterations=done, divergences=int(pieces[-1]["diverging"].sum()))
            # Some draws are returned whatever the budget: the last piece of an unfinished warm-up.
            if budget is not None and time.perf_counter() - began > budget:
                break
    steps = min(steps, done - PIECE)
    kept = slice(steps, steps + draws)
    fields = {
        name: np.concatenate([piece[name] for piece in pieces])[kept].swapaxes(0, 1)
        for name in pieces[0]
    }
    z = fields["z"].astype(float)
    values = Constrainer(bound)(z.reshape(-1, bound.dim))
    ess, r_hat = _convergence(values, bound, z.shape[:2])
    run = NutsRun(
        values=values,
        sites=tuple(site.name for site in bound.program.sites),
        z=z,
        log_p=-fields["energy"].astype(float),
        ess=ess,
        r_hat=r_hat,
        divergences=int(fields["diverging"].sum()),
        warmup=steps,
        gradients=int(fields["steps"].sum()),
        seconds=time.perf_counter() - began,
    )
    line.finish("NUTS", draws=z.shape[0] * z.shape[1])
    return run


def _bind(model_or_target: Any, args: tuple, kwargs: dict) -> Target:
    if not isinstance(model_or_target, Target):
        return target(model_or_target, *args, **kwargs)
    if args or kwargs:
        raise InputError("a target has its arguments already; pass it alone")
    return model_or_target


def _check(draws: Any, warmup: Any, chains: Any, budget: Any) -> None:
    problems = [
        f"{name} must be a whole number, {least} or more; got {value!r}"
        for name, value, least in (
            ("draws", draws, 4),
            ("warmup", warmup, 0),
            ("chains", chains, 1),
        )
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < least
    ]
    if budget is not None and not (isinstance(budget, (int, float)) and budget > 0):
        problems.append(f"budget must be a positive number of seconds, or None; got {budget!r}")
    if problems:
        raise InputError(problems)


def _start(
    bound: Target, start: Started | None, warmup: int, chains: int, seed: int
) -> tuple[NUTS, Any]:
    data = [jnp.asarray(leaf) for leaf in bound.data]
    rng = np.random.default_rng([seed, 7])
    options: dict[str, Any] = {}
    if start is None:
        monitor = Monitor(Oracle(bound), Progress(False))
        try:
            first = draw_starts(monitor, bound.dim, chains + 1, rng)[1:]
        except NoFiniteStart:
            raise InputError(no_start(bound)) from None
        if len(first) < chains:
            first = np.resize(first, (chains, bound.dim))
    else:
        pool = start.latent_pool.z
        if pool.shape[1] != bound.dim:
            raise InputError(
                f"start is a fit with {pool.shape[1]} latent values; the model has {bound.dim}"
            )
        first = pool[rng.permutation(len(pool))[:chains]]
        dense = bound.dim <= LARGEST_DENSE
        spread = np.cov(pool.T).reshape(bound.dim, bound.dim) if dense else pool.var(axis=0)
        mass = jnp.asarray(spread, native_dtype())
        options = {"inverse_mass_matrix": mass, "dense_mass": dense, "adapt_mass_matrix": False}
    kernel = NUTS(potential_fn=lambda z: -bound.program.log_density(data, z), **options)
    keys = jax.random.split(jax.random.PRNGKey(seed), chains)
    positions = jnp.asarray(first, native_dtype())
    return kernel, kernel.init(keys, warmup, positions, (), {})


def _step(kernel: NUTS, state: Any) -> tuple[Any, dict[str, Any]]:
    state = kernel.sample(state, (), {})  # vectorised over chains by `init`
    kept = {
        "z": state.z,
        "diverging": state.diverging,
        "energy": state.potential_energy,
        "steps": state.num_steps,
    }
    return state, kept


def _convergence(
    values: dict[str, np.ndarray], bound: Target, shape: tuple[int, int]
) -> tuple[dict[str, float], dict[str, float]]:
    ess: dict[str, float] = {}
    r_hat: dict[str, float] = {}
    for name, value in values.items():
        by_chain = np.asarray(value, float).reshape(*shape, *value.shape[1:])
        labels = scalar_names(name, value.shape[1:])
        with np.errstate(divide="ignore", invalid="ignore"):
            sizes, ratios = effective_sample_size(by_chain), split_gelman_rubin(by_chain)
        most = float(shape[0] * shape[1])
        # A constant has no autocorrelation to estimate: all its draws say the same.
        sizes = np.where(np.isfinite(sizes), np.minimum(sizes, most), most)
        ess |= dict(zip(labels, np.ravel(sizes).tolist(), strict=True))
        r_hat |= dict(zip(labels, np.ravel(ratios).tolist(), strict=True))
    return ess, r_hat
