"""Pareto-smoothed importance sampling.

The same arithmetic as arviz-stats, written out because importing that library takes longer than a
whole fit; the tests hold the two together to rounding.
"""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

REFERENCE = (
    "Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling, JMLR 25"
)

# A draw of so many times the mean weight lies where the guide is that much too small.
BEYOND = 10.0


@dataclasses.dataclass(frozen=True)
class Weights:
    """Importance weights of a guide's draws.

    Attributes:
        log_weights: smoothed, normalised log weights (draws,).
        k_hat: shape of the Pareto tail; minus infinity where the weights are constant.
        k_threshold: above this the weights cannot be relied on, min(1 - 1 / log10(draws), 0.7).
        effective: effective number of draws.
        beyond: share of the mass that lies in draws weighing more than ten times the mean, where
            the guide is that much too small, and its standard error.
        elbo: mean log weight and its standard error.
        log_evidence: log of the mean weight and its jackknife standard error.
    """

    log_weights: Float[np.ndarray, " draws"]
    k_hat: float
    k_threshold: float
    effective: float
    beyond: tuple[float, float]
    elbo: tuple[float, float]
    log_evidence: tuple[float, float]

    @property
    def efficiency(self) -> float:
        """Effective draws as a share of all."""
        return self.effective / len(self.log_weights)

    @property
    def k_hat_error(self) -> float:
        """Standard error of k_hat, (1 + k) / sqrt(tail), that of the fit of a Pareto tail."""
        return (1.0 + self.k_hat) / math.sqrt(_tail(len(self.log_weights)))


def importance_weights(log_ratios: Float[np.ndarray, " draws"]) -> Weights:
    """Smooth the importance ratios log p - log q of independent draws.

    Args:
        log_ratios: log p(z_i) - log q(z_i); -inf where p is zero.
    """
    draws = len(log_ratios)
    finite = log_ratios[np.isfinite(log_ratios)]
    smoothed, k_hat = smooth(log_ratios)
    weights = np.exp(smoothed)
    raw = np.exp(log_ratios - log_ratios.max())
    heavy = raw[raw > BEYOND * raw.mean()] / raw.sum()
    beyond = float(heavy.sum()), float(np.sqrt((heavy**2).sum()))
    elbo = float(log_ratios.mean())
    elbo_error = float(finite.std(ddof=1) / np.sqrt(draws)) if len(finite) > 1 else np.inf
    threshold = min(1.0 - 1.0 / np.log10(draws), 0.7)
    effective = float(1.0 / (weights**2).sum())
    means = (elbo, elbo_error), log_mean(log_ratios)
    return Weights(smoothed, k_hat, threshold, effective, beyond, *means)


def smooth(log_ratios: Float[np.ndarray, " draws"]) -> tuple[Float[np.ndarray, " draws"], float]:
    """Return normalised log weights with a Pareto tail fitted to the largest, and its shape."""
    log_weights = log_ratios - log_ratios.max()
    draws = len(log_weights)
    tail = _tail(draws)
    order = np.argsort(log_weights, kind="stable")
    cutoff = max(log_weights[order[-tail - 1]], np.log(np.finfo(float).tiny))
    largest = order[-tail:]
    excess = np.exp(log_weights[largest]) - np.exp(cutoff)
    k_hat = -np.inf
    if excess[-1] > 1e-12 and excess[0] >= 0 and excess[_quartile(tail)] > 0:
        k_hat, scale = fit_pareto(excess)
        probability = (np.arange(tail) + 0.5) / tail
        quantile = _pareto_quantile(probability, k_hat, scale)
        log_weights[largest] = np.minimum(np.log(quantile + np.exp(cutoff)), 0.0)
    return log_weights - _log_sum(log_weights), float(k_hat)


def _tail(draws: int) -> int:
    return math.ceil(min(0.2 * draws, 3.0 * math.sqrt(draws)))


def _quartile(count: int) -> int:
    """Index of the lower quartile of so many sorted numbers."""
    return int(count / 4 + 0.5) - 1


def fit_pareto(excess: Float[np.ndarray, " tail"]) -> tuple[float, float]:
    """Fit a generalised Pareto distribution to sorted excesses; return shape and scale.

    The estimate is that of Zhang and Stephens (2009), with the shape shrunk towards 0.5 as ten
    observations would.
    """
    count = len(excess)
    grid = 30 + int(np.sqrt(count))
    theta = 1.0 - np.sqrt(grid / (np.arange(1, grid + 1) - 0.5))
    theta /= 3.0 * excess[_quartile(count)]
    theta += 1.0 / excess[-1]
    shapes = np.log1p(-theta[:, None] * excess).mean(axis=1)
    log_likelihood = count * (np.log(-(theta / shapes)) - shapes - 1.0)
    with np.errstate(over="ignore"):  # a weight of zero
        weights = 1.0 / np.exp(log_likelihood - log_likelihood[:, None]).sum(axis=1)
    keep = weights >= 10.0 * np.finfo(float).eps
    weights, theta = weights[keep] / weights[keep].sum(), theta[keep]
    mean = (theta * weights).sum()
    shape = np.log1p(-mean * excess).mean()
    scale = -shape / mean
    return float((count * shape + 10 * 0.5) / (count + 10)), float(scale)


def scalar_k_hat(
    values: Float[np.ndarray, " draws"], log_weights: Float[np.ndarray, " draws"]
) -> float:
    """Return the Pareto shape for the mean of one quantity: the heaviest tail of value * weight."""
    shape = smooth(log_weights)[1]
    spread = np.abs(values - values.mean())
    if not spread.any():  # a constant: its mean needs no weights
        return shape
    with np.errstate(divide="ignore"):
        return max(shape, smooth(log_weights + np.log(spread))[1])


def _pareto_quantile(probability: np.ndarray, shape: float, scale: float) -> np.ndarray:
    if abs(shape) < np.finfo(float).eps:
        return -scale * np.log1p(-probability)
    return scale * np.expm1(-shape * np.log1p(-probability)) / shape


def _log_sum(values: np.ndarray) -> float:
    largest = values.max()
    return float(np.log(np.exp(values - largest).sum()) + largest)


def log_mean(log_ratios: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """Return the logarithm of the mean ratio and its jackknife standard error."""
    draws = len(log_ratios)
    largest = log_ratios.max()
    weights = np.exp(log_ratios - largest)
    total = weights.sum()
    # Leave-one-out estimates differ by the left-out weight only.
    left_out = np.log(np.maximum(total - weights, np.finfo(float).tiny) / (draws - 1))
    error = np.sqrt((draws - 1) / draws * ((left_out - left_out.mean()) ** 2).sum())
    return float(np.log(total / draws) + largest), float(error)
