"""The compiled functions of one SVI problem, made once for model, guide, optimiser and shapes.

The data are arguments of every function, so new data of the same shapes trace and compile nothing.
Many steps are one compiled loop of a length chosen at run time (`svi_steps`).
"""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import jax
from numpyro.infer.autoguide import AutoGuide as NumPyroAutoGuide

from taut._core.ahead import Ahead
from taut._core.collector import collector_held
from taut._core.constants import own_constants
from taut._core.fingerprint import Watch
from taut._core.xla_options import OFTEN, OFTEN_AND_SHORT, OFTEN_ON_LARGE, ONCE, cpu_options
from taut.checking.running import Call
from taut.diagnostics.finding import Finding
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.guide_findings import density_findings
from taut.infer.params import ParamSite, all_given
from taut.infer.svi_problem import Problem, SVIState
from taut.infer.svi_steps import Made, Steps, loop, make_steps
from taut.targets.arguments import Arguments
from taut.targets.cost import count_operations

LARGE_STEP = 200_000
"""Numbers computed in one step, from which on it is worth compiling for large arrays."""


class SVIProgram:
    """A problem, compiled for arguments of one structure.

    Args:
        problem: what is optimised.
        arguments: only their structure and static values are kept.
        sites: the parameters.
        shapes: the shape of each parameter.
        watch: notices changes in what model and guide read.
    """

    def __init__(
        self,
        problem: Problem,
        arguments: Arguments,
        sites: tuple[ParamSite, ...],
        shapes: dict[str, Any],
        watch: Watch,
    ):
        self.problem = problem
        self.sites = sites
        self.shapes = shapes
        self.watch = watch
        self._findings: tuple[Finding, ...] | None = None
        self.rebuild = arguments.without_data().rebuild
        self._compiled: dict[Any, Callable] = {}

    def findings(self, leaves: tuple, stacklevel: int) -> tuple[Finding, ...]:
        """Say what of the guide's density the loss does not show; read at the first data.

        Args:
            leaves: the data.
            stacklevel: whose line warnings name, which are given when it is read.
        """
        if self._findings is None:
            self._findings = self._read(leaves)
            for finding in self._findings:
                if finding.level != "note":
                    warnings.warn(f"{finding.message} {finding.advice}.", stacklevel=stacklevel)
        return self._findings

    @property
    def unbounded(self) -> str:
        """Why the loss has no lower bound, if a factor of the guide leaves it without one."""
        factors = (f for f in self._findings or () if f.name == "factor" and f.level == "bad")
        return " ".join(f"{found.message} {found.advice}." for found in factors)

    def _read(self, leaves: tuple) -> tuple[Finding, ...]:
        if isinstance(self.problem.guide, (AutoGuide, NumPyroAutoGuide)):
            return ()  # made from the model, so it fits it
        args, kwargs = self.rebuild(leaves)
        kwargs = {**kwargs, **self.problem.static}
        guide, model = (Call(f, args, kwargs) for f in (self.problem.guide, self.problem.model))
        try:
            with self.watch.running():
                return density_findings(guide, model)
        except Exception:  # what cannot be read in parts can still be fitted
            return ()

    def prepare(self, leaves: tuple, key: Any, stable: bool, forward: bool) -> None:
        """Have all that a run calls compiled, each function while the next is traced."""
        with collector_held():
            state = self._ahead(self._start).prepare(leaves, key, all_given(None, self.shapes))
            self._ahead(self._params).prepare(leaves, state)
            self._ahead(self._loop, stable, forward, False).prepare(leaves, state, 0, 0)

    def start(self, leaves: tuple, key: Any, init_params: dict | None) -> SVIState:
        """Return the state before the first step."""
        return self._ahead(self._start)(leaves, key, all_given(init_params, self.shapes))

    def params(self, leaves: tuple, state: SVIState) -> dict[str, Any]:
        """Return the constrained parameters of a state."""
        return self._ahead(self._params)(leaves, state)

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
        outside: int,
        stable: bool,
        forward: bool,
        short: bool,
    ) -> Steps:
        """Make up to `CHUNK` steps, as `make_steps` does.

        Args:
            leaves: the data.
            state: where to start.
            begin: steps made before.
            count: how many steps to make.
            outside: how many steps just before drew outside the support.
            stable: pass over steps that are not finite instead.
            forward: differentiate forwards.
            short: make every step a tenth as long.
        """
        steps = self._ahead(self._loop, stable, forward, short)
        return make_steps(functools.partial(steps, leaves), state, begin, count, outside)

    def _start(self, leaves: tuple, key: Any, given: dict) -> SVIState:
        return self.problem.start(key, given, *self.rebuild(leaves))

    def _params(self, leaves: tuple, state: SVIState) -> dict[str, Any]:
        return self.problem.params(self.sites, state, *self.rebuild(leaves))

    def _evaluate(self, leaves: tuple, state: SVIState) -> Any:
        return self.problem.evaluate(self.sites, state, *self.rebuild(leaves))

    def _step(self, stable: bool, forward: bool, leaves: tuple, state: SVIState) -> Any:
        args, kwargs = self.rebuild(leaves)
        return self.problem.step(self.sites, state, args, kwargs, stable, forward)

    def _loop(
        self,
        stable: bool,
        forward: bool,
        short: bool,
        leaves: tuple,
        state: SVIState,
        begin: Any,
        count: Any,
    ) -> Made:
        step = functools.partial(self._step, stable, forward, leaves)
        return loop(step, self.problem.optim, stable, short, state, begin, count)

    def _jitted(self, function: Callable, *static: bool) -> Callable:
        def make() -> Callable:
            options = cpu_options(OFTEN_AND_SHORT)
            return jax.jit(self._watched(function, *static), compiler_options=options)

        return self._once(make, function, *static)

    def _ahead(self, function: Callable, *static: bool) -> Ahead:
        def make() -> Ahead:
            return Ahead(
                self._watched(function, *static),
                loop_options if function == self._loop else lambda _: cpu_options(ONCE),
            )

        return self._once(make, function, *static)

    def _once(self, make: Callable[[], Any], function: Callable, *static: bool) -> Any:
        key = (function.__name__, static)
        if key not in self._compiled:
            self._compiled[key] = make()
        return self._compiled[key]

    def _watched(self, function: Callable, *static: bool) -> Callable:
        def traced(*args: Any) -> Any:
            # Tracing runs the user's functions, which may change what they read.
            with self.watch.running():
                return function(*static, *args)

        return own_constants(traced)


def loop_options(jaxpr: Any) -> dict[str, Any] | None:
    """Return the XLA options for blocks of steps, by how much one step computes."""
    # Blocks of steps are a loop in a loop; those inside a step do not make its arrays larger.
    step = count_operations(jaxpr, turns=1)
    return cpu_options(OFTEN if step < LARGE_STEP else OFTEN_ON_LARGE)
