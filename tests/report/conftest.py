"""A fit that was never fitted: plain data with the attributes that the report stage reads."""

import dataclasses
import math

import numpy as np
import pytest

from taut.report.summary import Summary, summarise


@dataclasses.dataclass(frozen=True)
class FakeFinding:
    name: str
    value: float
    threshold: float | None
    level: str
    message: str
    advice: str = ""
    reference: str = ""


@dataclasses.dataclass(frozen=True)
class FakeVerdict:
    converged: bool
    reason: str
    message: str
    expected_gap: float = math.nan


@dataclasses.dataclass(frozen=True)
class FakeTrace:
    gradients: np.ndarray
    loss: np.ndarray
    stage: list[str]


@dataclasses.dataclass(frozen=True)
class FakeFit:
    posterior: dict[str, np.ndarray]
    sites: tuple[str, ...]
    trace: FakeTrace
    trust: str = "usable"
    findings: tuple[FakeFinding, ...] = ()
    verdict: FakeVerdict = FakeVerdict(
        True, "expected gap", "a further step is expected to gain 0.013 nats, below 0.05", 0.013
    )
    notes: tuple[str, ...] = ()
    draws_from: str = "weights"
    guide_name: str = "full-rank"
    elbo: tuple[float, float] = (-123.4567, 0.0312)
    log_evidence: tuple[float, float] = (-123.2109, 0.0123)
    seconds: dict[str, float] = dataclasses.field(
        default_factory=lambda: {
            "trace": 0.08,
            "compile": 0.41,
            "start search": 0.06,
            "fit": 0.09,
            "checks": 0.11,
            "total": 0.75,
        }
    )
    gradients: int = 3264
    seed: int = 3
    versions: dict[str, str] = dataclasses.field(default_factory=lambda: {"taut": "0.1.0"})
    k_hat: float = 0.61
    shapes: dict[str, float] = dataclasses.field(
        default_factory=lambda: {"theta": 0.31, "b_perp": 0.66, "sigma_outlier": 1.2}
    )
    observed: dict[str, np.ndarray] = dataclasses.field(
        default_factory=lambda: {
            "flux": np.random.default_rng(1).normal(2.0, 1.0, 80),
            "hits": np.random.default_rng(2).poisson(3.0, (4, 5)),
        }
    )

    @property
    def dim(self) -> int:
        return sum(self.posterior[site][0].size for site in self.sites)

    def sample(self, n: int = 4000, seed: int = 0, corrected: bool = True):
        return {name: array[:n] for name, array in self.posterior.items()}

    def prior(self, draws: int = 4000, seed: int = 0):
        rng = np.random.default_rng(seed)
        return {
            name: rng.normal(array[0], 10.0, (draws, *array.shape[1:]))
            for name, array in self.posterior.items()
        }

    def predict(self, *, draws: int = 4000, seed: int = 0):
        rng = np.random.default_rng(seed)
        made = {"flux": rng.normal(2.0, 1.0, (draws, 80)), "hits": rng.poisson(3.0, (draws, 4, 5))}
        return {name: made[name] for name in self.observed}

    def summary(self) -> Summary:
        return summarise(self.posterior, self.sites, self.shapes, 1234.0)


FINDINGS = (
    FakeFinding(
        "k_hat of the log weights",
        0.61,
        0.7,
        "doubt",
        "k-hat of the log weights is 0.61: the guide's tails are too light, and the draws were "
        "corrected by importance weights worth 1,234 of 4,000 draws",
        "use the corrected draws (fit.sample() does), or guide='mixture' for a closer guide",
    ),
    FakeFinding("drift", 0.04, 0.15, "good", "a short HMC run moved no mean by more than 0.04 sd"),
    FakeFinding(
        "starts",
        16,
        math.nan,
        "note",
        "16 starts were tried and 15 ended in the same mode; a mode that no start has seen cannot "
        "be excluded",
    ),
)


def make_trace(steps: int = 60) -> FakeTrace:
    """A course of the loss like a real one: steep, then a new stage on other draws, then flat."""
    rng = np.random.default_rng(3)
    thirds = [steps // 3, steps // 3, steps - 2 * (steps // 3)]
    loss = np.concatenate(
        [
            124 + 4e5 * np.exp(-0.7 * np.arange(thirds[0])),
            123.6 + 12 * np.exp(-0.35 * np.arange(thirds[1])) + rng.normal(0, 0.05, thirds[1]),
            123.45 + 0.2 * np.exp(-0.3 * np.arange(thirds[2])) + rng.normal(0, 0.01, thirds[2]),
        ]
    )
    stage = ["start"] * thirds[0] + ["natural gradient"] * thirds[1]
    stage += ["l-bfgs"] * (thirds[2] // 2) + ["polish"] * (thirds[2] - thirds[2] // 2)
    draws = np.repeat([16, 32, 64], thirds)
    return FakeTrace(np.cumsum(draws), loss, stage)


def make_draws(scalars: int, draws: int = 4000, seed: int = 0) -> dict[str, np.ndarray]:
    """Draws of a correlated posterior with skewed and two-humped sites.

    Five scalars are five sites; more of them are an additional site with a shape.
    """
    rng = np.random.default_rng(seed)
    theta = rng.normal(1.1, 0.04, draws)
    out = {
        "theta": theta,
        "b_perp": 30 - 20 * (theta - 1.1) + rng.normal(0, 0.6, draws),
        "sigma_outlier": np.exp(rng.normal(4.0, 0.6, draws)),
        "p_outlier": rng.beta(2, 12, draws),
    }
    low, high = rng.normal(-2, 0.5, draws), rng.normal(2, 1, draws)
    out["mode"] = np.where(rng.random(draws) < 0.7, low, high)
    out = dict(list(out.items())[:scalars])
    if scalars > 5:
        out["slope"] = rng.normal(size=(draws, scalars - 5)) * rng.uniform(0.1, 5, scalars - 5)
    return out


def make_fit(scalars: int = 5, **changes) -> FakeFit:
    posterior = make_draws(scalars)
    return FakeFit(posterior, tuple(posterior), make_trace(), **({"findings": FINDINGS} | changes))


@pytest.fixture
def fit_of():
    """A function (scalars, **changes) -> fit."""
    return make_fit


@pytest.fixture
def finding():
    """The class of a finding."""
    return FakeFinding


@pytest.fixture
def verdict():
    """The class of a verdict."""
    return FakeVerdict


@pytest.fixture
def fit():
    return make_fit()
