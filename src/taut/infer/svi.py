"""`SVI`, as NumPyro programs call it."""

import contextlib
from collections import namedtuple
from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer
from jax.example_libraries import optimizers
from numpyro import handlers
from numpyro.infer.autoguide import AutoGuide as NumPyroAutoGuide
from numpyro.optim import _NumPyroOptim, optax_to_numpyro

from taut._core.errors import InputError
from taut._core.threads import single_blas_thread
from taut.diagnostics.finding import Finding
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.params import ParamSite, check_started, constrain, initial_params
from taut.infer.svi_lookup import find_program, read_params, with_values
from taut.infer.svi_loop import run_steps
from taut.infer.svi_problem import Problem, SVIState
from taut.infer.svi_program import SVIProgram
from taut.loop.progress import Progress
from taut.loop.verdict import Verdict
from taut.report.plot_losses import draw_losses

NOT_STARTED = (
    "get_params needs to know the constraints of the params: call init, run or update of this SVI "
    "with the arguments of the model first"
)


class SVIRunResult(namedtuple("SVIRunResult", ["params", "state", "losses"])):
    """What `SVI.run` returns: a tuple of three, a verdict and findings.

    Attributes:
        params: constrained values of the `numpyro.param` sites.
        state: the last state, to go on from.
        losses: the loss of every step made, (steps,).
        verdict: why the run stopped, and whether loss and parameters had settled; None inside
            `jax.jit` or `jax.vmap`.
        findings: what of the guide's density the loss does not show: what its factors do, and
            auxiliaries and maps that leave it without the right one.
    """

    verdict: Verdict | None
    findings: tuple[Finding, ...]

    def __new__(
        cls,
        params: Any,
        state: Any,
        losses: Any,
        verdict: Verdict | None = None,
        findings: tuple[Finding, ...] = (),
    ):
        """Make the tuple; the rest are attributes, so that it unpacks as in NumPyro."""
        result = super().__new__(cls, params, state, losses)
        result.verdict, result.findings = verdict, findings
        return result

    def plot_losses(self) -> Any:
        """Draw the loss of every step and its smoothed course, with the verdict.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
            InputError: no loss is finite.
        """
        return draw_losses(self.losses, self.verdict)


class SVI:
    """Stochastic variational inference: fit a guide's params to a model by stochastic gradients.

    The interface is NumPyro's. Compiled functions are shared by all objects made of the same model,
    guide, optimiser and loss, and used for all data of the same shapes.

    Args:
        model: a NumPyro model.
        guide: a NumPyro guide: a function with `numpyro.param` and `numpyro.sample` sites.
        optim: an optimiser of `numpyro.optim`, of `jax.example_libraries.optimizers`, or an Optax
            transformation.
        loss: an objective, such as `Trace_ELBO()`.
        **static_kwargs: arguments of model and guide that stay the same.

    Raises:
        InputError: the optimiser is none.
    """

    def __init__(
        self, model: Callable, guide: Callable, optim: Any, loss: Any, **static_kwargs: Any
    ):
        self.model = model
        self.guide = guide
        self.optim = _as_optim(optim)
        self.loss = loss
        self.static_kwargs = static_kwargs
        self._supplied: dict[str, Any] = {}
        self._sites: tuple[ParamSite, ...] | None = None
        self._latest: tuple[SVIProgram, tuple] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_latest": None}

    def init(
        self, rng_key: Any, *args: Any, init_params: dict[str, Any] | None = None, **kwargs: Any
    ) -> SVIState:
        """Return the state before the first step.

        Args:
            rng_key: a JAX random key.
            *args: arguments of model and guide.
            init_params: constrained values for some or all params, to start from.
            **kwargs: keyword arguments of model and guide.

        Raises:
            InputError: model and guide do not fit together, or `init_params` not to them.
        """
        if _traced(rng_key, args, kwargs, init_params):
            check_started(self._read_sites(args, kwargs, init_params), init_params)
            given = {name: (True, value) for name, value in (init_params or {}).items()}
            return self._problem.start(rng_key, given, args, kwargs)
        program, leaves = self._prepare(args, kwargs, init_params, rng_key)
        check_started(program.sites, init_params)
        return program.start(leaves, rng_key, init_params)

    def get_params(self, svi_state: SVIState) -> dict[str, Any]:
        """Return the constrained params of a state.

        A constraint that depends on data is taken at the data of the latest call.

        Raises:
            InputError: no call has shown yet what the params are.
        """
        if self._latest is not None and not _traced(svi_state):
            program, leaves = self._latest
            return program.params(leaves, svi_state)
        return self.constrain_fn(self.optim.get_params(svi_state.optim_state))

    def constrain_fn(self, params: dict[str, Any]) -> dict[str, Any]:
        """Return params constrained that are on the scale the optimiser works on.

        Args:
            params: such as `svi.optim.get_params(state.optim_state)` gives.

        Raises:
            InputError: no call has shown yet what the params are.
        """
        sites = self._sites
        if sites is None:
            raise InputError(NOT_STARTED)
        args, kwargs = (), {}
        if self._latest is not None:
            program, leaves = self._latest
            args, kwargs = program.rebuild(leaves)
        elif any(site.constraint is None for site in sites):
            raise InputError(NOT_STARTED)
        kwargs = {**kwargs, **self.static_kwargs}
        return constrain(sites, params, self.model, self.guide, args, kwargs)

    def update(
        self,
        svi_state: SVIState,
        *args: Any,
        forward_mode_differentiation: bool = False,
        **kwargs: Any,
    ) -> tuple[SVIState, Any]:
        """Make one step.

        Args:
            svi_state: where to start.
            *args: arguments of model and guide.
            forward_mode_differentiation: differentiate forwards, for models that need it.
            **kwargs: keyword arguments of model and guide.

        Returns:
            The new state, and the loss before the step.
        """
        return self._step(svi_state, args, kwargs, False, forward_mode_differentiation)

    def stable_update(
        self,
        svi_state: SVIState,
        *args: Any,
        forward_mode_differentiation: bool = False,
        **kwargs: Any,
    ) -> tuple[SVIState, Any]:
        """Make one step, or leave the params as they are where it would not be finite.

        Arguments and results are those of `update`; the loss of a step passed over is NaN.
        """
        return self._step(svi_state, args, kwargs, True, forward_mode_differentiation)

    def evaluate(self, svi_state: SVIState, *args: Any, **kwargs: Any) -> Any:
        """Return the loss at a state, on the noise that the next step will use."""
        if _traced(svi_state, args, kwargs):
            return self._problem.evaluate(self._known_sites(args, kwargs), svi_state, args, kwargs)
        program, leaves = self._prepare(args, kwargs, evaluating=True)
        return program.evaluate(leaves, svi_state)

    def run(
        self,
        rng_key: Any,
        num_steps: int,
        *args: Any,
        progress_bar: bool = True,
        stable_update: bool = False,
        forward_mode_differentiation: bool = False,
        init_state: SVIState | None = None,
        init_params: dict[str, Any] | None = None,
        stop: str | None = None,
        **kwargs: Any,
    ) -> SVIRunResult:
        """Make many steps.

        Args:
            rng_key: a JAX random key.
            num_steps: how many steps, at most.
            *args: arguments of model and guide.
            progress_bar: show a progress line on standard error.
            stable_update: pass over steps that are not finite; otherwise the run ends before the
                first of them.
            forward_mode_differentiation: differentiate forwards, for models that need it.
            init_state: go on from this state; the key is not used then.
            init_params: constrained values for some or all params, to start from.
            stop: "auto" ends the run when loss and params have settled; None makes all steps.
            **kwargs: keyword arguments of model and guide.

        Returns:
            Params, state and losses, with a verdict and findings. Ctrl-C and a step that is not
            finite are no errors: what was reached comes back, and the verdict says why.

        Raises:
            InputError: model and guide do not fit together, or `init_params` not to them.
        """
        num_steps = _check_run(num_steps, stop)
        stable, forward = stable_update, forward_mode_differentiation
        if _traced(rng_key, args, kwargs, init_state, init_params):
            if init_state is None:
                init_state = self.init(rng_key, *args, init_params=init_params, **kwargs)

            def body(state: SVIState, _: None) -> tuple[SVIState, Any]:
                return self._step(state, args, kwargs, stable, forward)

            state, losses = jax.lax.scan(body, init_state, None, length=num_steps)
            return SVIRunResult(self.get_params(state), state, losses)
        program, leaves = self._find(args, kwargs, init_params, rng_key)
        placed = jax.device_put(leaves)
        line = Progress(progress_bar)
        with single_blas_thread():
            if init_state is None:
                check_started(program.sites, init_params)
                program.prepare(placed, rng_key, stable, forward)
                init_state = program.start(placed, rng_key, init_params)
            findings = program.findings(leaves, stacklevel=3)  # read while the steps compile
            done = run_steps(
                program,
                placed,
                init_state,
                num_steps,
                stable=stable,
                forward=forward,
                halt=stop == "auto",
                unbounded=program.unbounded,
                line=line,
            )
        params = program.params(placed, done.state)
        losses = jax.device_put(done.losses)
        return SVIRunResult(params, done.state, losses, done.verdict, findings)

    @property
    def _problem(self) -> Problem:
        return Problem(self.model, self.guide, self.optim, self.loss, self.static_kwargs)

    def _step(
        self, state: SVIState, args: tuple, kwargs: dict, stable: bool, forward: bool
    ) -> tuple[SVIState, Any]:
        if _traced(state, args, kwargs):
            sites = self._known_sites(args, kwargs)
            return self._problem.step(sites, state, args, kwargs, stable, forward)
        program, leaves = self._prepare(args, kwargs)
        return program.step(leaves, state, stable, forward)

    def _known_sites(self, args: tuple, kwargs: dict) -> tuple[ParamSite, ...]:
        return self._read_sites(args, kwargs, None) if self._sites is None else self._sites

    def _read_sites(
        self, args: tuple, kwargs: dict, init_params: dict | None
    ) -> tuple[ParamSite, ...]:
        self._supplied = init_params or self._supplied
        try:
            sites, shapes = read_params(self._problem, args, kwargs)
        except Exception:
            if not self._supplied:
                raise
            problem = with_values(self._problem, self._supplied)
            sites, shapes = read_params(problem, args, kwargs)
        problems = initial_params(init_params, shapes)
        if problems:
            raise InputError(problems)
        self._sites = sites
        return sites

    def _prepare(self, *arguments: Any, **options: Any) -> tuple[SVIProgram, tuple]:
        """Do as `_find` does, and read the guide."""
        program, leaves = self._find(*arguments, **options)
        program.findings(leaves, stacklevel=4)
        return program, leaves

    def _find(
        self,
        args: tuple,
        kwargs: dict,
        init_params: dict | None = None,
        key: Any = 0,
        evaluating: bool = False,
    ) -> tuple[SVIProgram, tuple]:
        """Find or make the program for these arguments; return it with the data leaves."""
        if isinstance(self.guide, AutoGuide):
            # Its medians and draws are asked for without arguments later; they are those of the
            # data it was fitted to, not of any it is evaluated on.
            if not evaluating or not self.guide.remembers:
                self.guide.setup(*args, **kwargs, **self.static_kwargs)
        elif isinstance(self.guide, NumPyroAutoGuide) and self.guide.prototype_trace is None:
            # It keeps what it learns in its first call, which must not be under a trace; the point
            # it starts from too, so that comes from the key as in NumPyro.
            seed = key if isinstance(key, int) else jax.random.split(key, 3)[2]
            handlers.seed(self.guide, seed)(*args, **kwargs, **self.static_kwargs)
        self._supplied = init_params or self._supplied
        program, arguments = find_program(self._problem, args, kwargs, self._supplied)
        problems = initial_params(init_params, program.shapes)
        if problems:
            raise InputError(problems)
        self._sites = program.sites
        self._latest = program, arguments.leaves
        return self._latest


def _as_optim(optim: Any) -> _NumPyroOptim:
    if isinstance(optim, _NumPyroOptim):
        return optim
    if isinstance(optim, optimizers.Optimizer):
        return _NumPyroOptim(lambda *parts: parts, *optim)
    if callable(getattr(optim, "init", None)) and callable(getattr(optim, "update", None)):
        return optax_to_numpyro(optim)
    raise InputError(
        f"the optimiser is a {type(optim).__name__}; give one of taut.infer.optim, such as "
        "optim.Adam(1e-3), or an Optax transformation"
    )


def _check_run(num_steps: Any, stop: Any) -> int:
    """Return the number of steps; NumPyro takes 1e4 as one too."""
    problems, steps = [], 0
    with contextlib.suppress(TypeError, ValueError):
        steps = int(num_steps) if float(num_steps).is_integer() else 0
    if steps < 1:
        problems.append(f"num_steps must be a positive whole number; got {num_steps!r}")
    if stop not in (None, "auto"):
        problems.append(f'stop must be "auto" or None; got {stop!r}')
    if problems:
        raise InputError(problems)
    return steps


def _traced(*values: Any) -> bool:
    return any(isinstance(leaf, Tracer) for leaf in jax.tree_util.tree_leaves(values))
