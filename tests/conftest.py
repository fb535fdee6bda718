"""What all tests share: shape checks, tolerances, a compile counter, a fresh interpreter, a model.

Tolerances come from here or are computed in the test. Rounding has one table, by floating type;
Monte Carlo estimates must lie within five of their own standard errors.
"""

import contextlib
import dataclasses
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jaxtyping
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats
import shape_checks

# Shapes in annotations are enforced in the stages that compute. The outer ones (targets, fitting)
# must meet wrong types themselves, with their own words.
CHECKED = ("guides", "objectives", "solvers", "loop", "posterior", "diagnostics", "results")
jaxtyping.install_import_hook([f"taut.{stage}" for stage in CHECKED], "shape_checks.typechecker")

# Relative to the largest number involved: some hundred roundings in a row.
ROUNDING = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 2e-12}

STANDARD_ERRORS = 5.0

_COMPILED: list[str] = []


def _count_compilation(event: str, duration: float, **_: Any) -> None:
    if event == "/jax/core/compile/backend_compile_duration":
        _COMPILED.append(event)


jax.monitoring.register_event_duration_secs_listener(_count_compilation)


@pytest.fixture(autouse=True)
def _shapes_are_checked() -> None:
    """Check shapes in the first calls of every function in this test."""
    shape_checks.start_test()


@pytest.fixture(scope="session")
def same_to_rounding() -> Callable[..., None]:
    """A check (actual, expected, dtype=float64, condition=1) of equality up to rounding.

    `condition` is the factor by which the computation itself magnifies a rounding error.
    """

    def check(actual: Any, expected: Any, dtype: Any = np.float64, condition: float = 1.0) -> None:
        actual, expected = np.asarray(actual, float), np.asarray(expected, float)
        assert actual.shape == expected.shape
        assert np.isfinite(expected).all()
        allowed = ROUNDING[np.dtype(dtype)] * condition * max(1.0, np.abs(expected).max(initial=0))
        worst = np.abs(actual - expected).max(initial=0)
        assert worst <= allowed, f"differs by {worst:.3g}, rounding explains {allowed:.3g}"

    return check


@pytest.fixture(scope="session")
def within_error() -> Callable[..., None]:
    """A check (estimate, truth, standard error) that they agree within five standard errors."""

    def check(estimate: Any, truth: Any, error: Any) -> None:
        estimate, truth, error = (np.asarray(v, float) for v in (estimate, truth, error))
        assert np.isfinite(error).all()
        away = np.abs(estimate - truth) / error
        assert away.max() < STANDARD_ERRORS, f"{away.max():.2f} standard errors away"

    return check


@pytest.fixture
def compilations() -> Callable[[], contextlib.AbstractContextManager[list[int]]]:
    """A context manager whose list holds, at the end, how many programs XLA compiled inside."""

    @contextlib.contextmanager
    def count() -> Iterator[list[int]]:
        before, result = len(_COMPILED), []
        yield result
        result.append(len(_COMPILED) - before)

    return count


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Run the test with JAX in double precision."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="session")
def run_python() -> Callable[..., str]:
    """A function (code, seconds=120, **environment) -> what a fresh interpreter printed."""

    def run(code: str, seconds: float = 120.0, **environment: str) -> str:
        paths = os.pathsep.join(p for p in sys.path if p)
        variables = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=variables,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@dataclasses.dataclass(frozen=True)
class Conjugate:
    """A model whose posterior is known in closed form.

    Attributes:
        model: the NumPyro model, called as model(x, y=y).
        x: inputs.
        y: observations.
        mean: posterior mean of (a, b[0], b[1]).
        covariance: posterior covariance of the same.
        log_evidence: log density of y under the prior.
    """

    model: Callable
    x: np.ndarray
    y: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    log_evidence: float


NOISE_SD, PRIOR_SD = 0.5, 2.0


def regression_model(x, y=None):
    """A linear regression with known noise."""
    a = numpyro.sample("a", dist.Normal(0.0, PRIOR_SD))
    with numpyro.plate("features", x.shape[1]):
        b = numpyro.sample("b", dist.Normal(0.0, PRIOR_SD))
    line = numpyro.deterministic("line", a + x @ b)
    with numpyro.plate("rows", x.shape[0]):
        numpyro.sample("y", dist.Normal(line, NOISE_SD), obs=y)


@pytest.fixture(scope="session")
def regression() -> Conjugate:
    """The conjugate regression: 12 rows, an intercept and two correlated features."""
    rng = np.random.default_rng(7)
    x = rng.normal(size=(12, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]]) + 1.0
    y = 0.7 + x @ np.array([1.5, -1.0]) + NOISE_SD * rng.normal(size=12)
    design = np.column_stack([np.ones(12), x])
    covariance = np.linalg.inv(design.T @ design / NOISE_SD**2 + np.eye(3) / PRIOR_SD**2)
    mean = covariance @ design.T @ y / NOISE_SD**2
    marginal = NOISE_SD**2 * np.eye(12) + PRIOR_SD**2 * design @ design.T
    evidence = scipy.stats.multivariate_normal(np.zeros(12), marginal).logpdf(y)
    return Conjugate(regression_model, x, y, mean, covariance, float(evidence))


@pytest.fixture(scope="session")
def regression_fit(regression) -> Any:
    """The default fit of the conjugate regression; not to be changed."""
    import taut

    return taut.fit(regression.model, regression.x, y=regression.y, progress=False)
