"""Which terms of a triangular flow are worth having.

A flow has more possible terms than draws can determine, so it starts as the Gaussian and takes on
those whose gradient stands clear of its Monte Carlo error, as boosting does. The gradients that
decide are path gradients (Roeder, Wu and Duvenaud 2017, arXiv 1703.09194), whose noise vanishes
where the flow is right.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int

from taut.guides.flow_layers import Layers, product
from taut.guides.triangular import TriangularFlow
from taut.objectives.triangular import FlowEvaluation

# A term is taken on if its gradient is this many standard errors from zero, more where there are
# thousands to choose from; or fewer, if all terms of one source together, such as the scales that
# hang on one neck, stand out.
CLEAR, CLEAR_IN_COMPANY, SURE = 3.5, 2.0, 3.0
MOST_PAIRS = 64

# Products whose moments are taken at once.
PRODUCTS = 48

# Above the first dimension products are made of these coordinates only, and of squares; above the
# second all terms are.
ALL_PAIRS, ALL_ROWS, DRIVERS = 64, 256, 16


@dataclasses.dataclass(frozen=True)
class Terms:
    """Which coefficients of a flow are free; constants always are.

    Attributes:
        marginals: whether skewness and tails are.
        log_scale: of its `log_scale` (dim + 1, dim).
        shift: of its `shift` (dim + 1, dim).
        pairs: its pairs (pairs, 2).
        bend: of its `bend` (pairs, dim).
        stretch: of its `stretch` (pairs, dim).
    """

    marginals: bool
    log_scale: Bool[np.ndarray, "rows dim"]
    shift: Bool[np.ndarray, "rows dim"]
    pairs: Int[np.ndarray, "pairs 2"]
    bend: Bool[np.ndarray, "pairs dim"]
    stretch: Bool[np.ndarray, "pairs dim"]

    @classmethod
    def none(cls, dim: int) -> "Terms":
        """Return the terms of a Gaussian with independent x."""
        rows = np.zeros((dim + 1, dim), bool)
        rows[0] = True
        none = np.zeros((0, dim), bool)
        return cls(False, rows, rows, np.zeros((0, 2), int), none, none)

    @property
    def lean(self) -> Bool[np.ndarray, " dim"]:
        """Which leans are: where no term scales a coordinate its lean is a constant shift."""
        return np.vstack([self.log_scale[1:], self.stretch]).max(axis=0)

    @property
    def count(self) -> int:
        """How many coefficients depend on other coordinates."""
        linear = self.log_scale[1:].sum() + self.shift[1:].sum()
        return int(linear + self.bend.sum() + self.stretch.sum())

    @property
    def size(self) -> int:
        """How many coefficients are free."""
        own = (4 if self.marginals else 2) * self.log_scale.shape[1]
        return self.count + own + int(self.lean.sum())

    def flow(self, guide: TriangularFlow) -> TriangularFlow:
        """Return a flow with room for the coefficients of the pairs; its own come first."""
        more = np.zeros((len(self.pairs) - len(guide.pairs), guide.dim))
        bend, stretch = (np.concatenate([old, more]) for old in (guide.bend, guide.stretch))
        return dataclasses.replace(guide, pairs=self.pairs, bend=bend, stretch=stretch)


@np.errstate(over="ignore", invalid="ignore")  # what overflows promises nothing that is clear
def grow(terms: Terms, evaluation: FlowEvaluation, least: float) -> Terms:
    """Take on the terms whose path gradient is clear and promises more than `least` nats each.

    Marginals are freed once the first terms are fitted: free from the start, they take the shape of
    the part of a ridge that the Gaussian has seen.
    """
    dim = evaluation.guide.dim
    blocks = evaluation.blocks
    residual = _joined([block.white - _score(block.layers) for block in blocks])
    both = np.concatenate([residual * _joined([block.layers.spread for block in blocks]), residual])
    before = np.vstack([np.zeros(dim, bool), np.arange(dim) > np.arange(dim)[:, None]])
    marginal = _joined([block.layers.marginal for block in blocks])
    linear = np.concatenate([np.ones((1, evaluation.draws)), marginal])
    squares = both**2
    scale_gain, shift_gain = _gains(*_moments(linear, both, squares), before)
    driving = scale_gain.sum(axis=1)[1:]
    drivers = np.zeros(dim, bool)
    drivers[np.argsort(-driving, kind="stable")[:DRIVERS]] = True
    if dim > ALL_ROWS:
        scale_gain[1:][~drivers] = 0.0
        shift_gain[1:][~drivers] = 0.0
    pairs, bend, stretch = _grow_pairs(terms, evaluation, both, squares, drivers, least)
    scale, shift = terms.log_scale | (scale_gain > least), terms.shift | (shift_gain > least)
    grown = Terms(terms.marginals, scale, shift, pairs, bend, stretch)
    freed = terms.marginals or terms.count > 0 or grown.count == 0
    return dataclasses.replace(grown, marginals=freed)


def _grow_pairs(
    terms: Terms,
    evaluation: FlowEvaluation,
    both: np.ndarray,
    squares: np.ndarray,
    drivers: np.ndarray,
    least: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    dim = evaluation.guide.dim
    first, second = np.triu_indices(max(dim - 1, 0))
    if dim > ALL_PAIRS:
        wanted = (first == second) | drivers[first] | drivers[second]
        if dim > ALL_ROWS:
            wanted = drivers[first] & drivers[second]
        first, second = first[wanted], second[wanted]
    after = np.arange(dim) > second[:, None]
    noise = _joined([block.layers.noise.value for block in evaluation.blocks])
    moments = [
        _moments(product(noise[i], noise[j], (i == j)[:, None]), both, squares)
        for i, j in zip(_in_parts(first), _in_parts(second), strict=True)
    ]
    mean, variance = map(np.concatenate, zip(*moments, strict=True))
    stretch_gain, bend_gain = _gains(mean, variance, after)
    bent, scaled = bend_gain > least, stretch_gain > least
    total = np.where(bent, bend_gain, 0.0).sum(axis=1)
    total += np.where(scaled, stretch_gain, 0.0).sum(axis=1)
    known = {tuple(pair): row for row, pair in enumerate(terms.pairs.tolist())}
    pairs, bend, stretch = terms.pairs.tolist(), list(terms.bend), list(terms.stretch)
    for candidate in np.argsort(-total, kind="stable"):
        if total[candidate] == 0.0:
            break
        pair = (int(first[candidate]), int(second[candidate]))
        if pair in known:
            row = known[pair]
            bend[row] = bend[row] | bent[candidate]
            stretch[row] = stretch[row] | scaled[candidate]
        elif len(pairs) < MOST_PAIRS:
            pairs.append(list(pair))
            bend.append(bent[candidate])
            stretch.append(scaled[candidate])
    return (
        np.array(pairs, int).reshape(-1, 2),
        np.array(bend, bool).reshape(-1, dim),
        np.array(stretch, bool).reshape(-1, dim),
    )


def _joined(blocks: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rows of all blocks (rows, draws)."""
    return np.concatenate(blocks, axis=1)


def _in_parts(rows: np.ndarray) -> list[np.ndarray]:
    """Return rows in parts, so few in each that what is made of them stays in the cache."""
    return np.array_split(rows, max(1, -(-len(rows) // PRODUCTS)))


def _moments(
    features: np.ndarray, both: np.ndarray, squares: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of each term and its squared error (features, 2 dim).

    Args:
        features: (features, draws).
        both: gradients with respect to the log scales, and then the shifts (2 dim, draws).
        squares: theirs.
    """
    draws = both.shape[1]
    mean = features @ both.T / draws
    return mean, np.maximum(features**2 @ squares.T / draws - mean**2, 0.0) / draws


def _gains(
    mean: np.ndarray, variance: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nats each term of the log scales, and of the shifts, promises (features, dim).

    They are zero where the gradient is not clear.
    """
    (scale_mean, mean), (scale_variance, variance) = (np.hsplit(a, 2) for a in (mean, variance))
    # The curvature of a scale is 2, that of a shift 1, where the flow is still the Gaussian.
    return _gain(scale_mean, scale_variance, 2.0, allowed), _gain(mean, variance, 1.0, allowed)


def _gain(
    mean: np.ndarray, variance: np.ndarray, curvature: float, allowed: np.ndarray
) -> np.ndarray:
    variance = np.where(allowed, variance, 0.0)
    squares = np.where(allowed, mean**2, 0.0)
    # The largest of so many gradients stands out by as much where all are noise.
    alone = max(CLEAR, np.sqrt(2.0 * np.log(max(np.sum(allowed), 1))))
    # And a sum of squares by no more (Laurent and Massart 2000, Annals of Statistics 28, lemma 1),
    # but for a chance of exp(-SURE) in all.
    doubt = np.log(max(np.sum(allowed.any(axis=1)), 1)) + SURE
    noise = 2.0 * np.sqrt(doubt * (variance**2).sum(axis=1)) + 2.0 * doubt * variance.max(axis=1)
    together = (squares - variance).sum(axis=1) > noise
    least = np.where(together, CLEAR_IN_COMPANY, alone)[:, None]
    clear = squares > least**2 * variance
    return np.where(clear, squares / (2.0 * curvature), 0.0)


def _score(layers: Layers) -> np.ndarray:
    """Return the gradient of log q with respect to x, but for its terms between coordinates.

    What is left out has mean zero times any term, so path gradients stay unbiased.
    """
    own = layers.noise.value + layers.log_slope_gradient
    return -own / (layers.slope * layers.width)
