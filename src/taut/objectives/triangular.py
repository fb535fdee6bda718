"""The ELBO of a triangular flow on fixed noise, and which of its terms are worth having.

A flow has more possible terms than draws can determine, so it starts as the Gaussian and takes on
those whose gradient stands clear of its Monte Carlo error, as boosting does. The gradients that
decide are path gradients (Roeder, Wu and Duvenaud 2017, arXiv 1703.09194), whose noise vanishes
where the flow is right.
"""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float, Int

from taut.guides.flow_layers import Layers, Noise, product
from taut.guides.guide import LOG_2PI
from taut.guides.triangular import TriangularFlow
from taut.objectives.matched_elbo import Batch, Evaluation, begin, parts_of

# A term is taken on if its gradient is this many standard errors from zero, more where there are
# thousands to choose from; or fewer, if all terms of one source together, such as the scales that
# hang on one neck, stand out.
CLEAR, CLEAR_IN_COMPANY, SURE = 3.5, 2.0, 3.0
MOST_PAIRS = 64

# Above the first dimension products are made of these coordinates only, and of squares; above the
# second all terms are.
ALL_PAIRS, ALL_ROWS, DRIVERS = 64, 256, 16


@dataclasses.dataclass(frozen=True)
class Block:
    """Some draws of an evaluation.

    Attributes:
        layers: the map at their noise.
        white: gradients with respect to x (draws, dim).
    """

    layers: Layers
    white: Float[np.ndarray, "draws dim"]


@dataclasses.dataclass(frozen=True)
class FlowEvaluation(Evaluation):
    """The objective at one flow, with the pieces of its map.

    Attributes:
        log_det: logarithm of the Jacobian's determinant (draws,).
        blocks: the draws in blocks; none where the map overflows.
    """

    log_det: Float[np.ndarray, " draws"]
    blocks: tuple[Block, ...]

    def at(self, guide: TriangularFlow) -> "FlowEvaluation":
        """Return the same evaluation at another flow that is the same map."""
        blocks = [Block(guide.layers(b.layers.noise.value), b.white) for b in self.blocks]
        return dataclasses.replace(self, guide=guide, blocks=tuple(blocks))


def evaluate_flow(
    batch: Batch,
    guide: TriangularFlow,
    noise: np.ndarray,
    prepared: Sequence[Noise] | None = None,
) -> FlowEvaluation:
    """Evaluate the objective at a flow.

    The density of some draws is evaluated while the next ones are made.

    Args:
        batch: batched log density and gradient.
        guide: the flow.
        noise: what its draws are made of.
        prepared: the same in blocks, if they are known.
    """
    layers, log_dets, results = [], [], []
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        if prepared is None:
            prepared = [guide.prepared(noise[part]) for part in parts_of(batch, len(noise))]
        for block in prepared:
            some = guide.layers(block)
            z = guide.place(some)
            if not np.isfinite(z.sum()):
                return _lost(guide, noise)
            results.append(begin(batch, z))
            layers.append(some)
            log_dets.append(guide.log_det_of(some))
        values, gradients = map(np.concatenate, zip(*(each() for each in results), strict=True))
        log_det = np.concatenate(log_dets)
        entropy = log_det.mean() + 0.5 * guide.dim * (1.0 + LOG_2PI)
        loss = -float(values.mean() + entropy)
        ends = np.cumsum([len(block.value) for block in prepared])[:-1]
        white = np.split(gradients @ guide.scale_tril, ends)
    # Draws without a density have gradients of zero, and may still show which terms are missing.
    loss = loss if np.isfinite(loss) else np.inf
    blocks = tuple(Block(*each) for each in zip(layers, white, strict=True))
    return FlowEvaluation(guide, noise, loss, values, gradients, log_det, blocks)


def _lost(guide: TriangularFlow, noise: np.ndarray) -> FlowEvaluation:
    """Return the evaluation of a map that overflows."""
    nothing, nowhere = np.zeros(len(noise)), np.full(len(noise), -np.inf)
    return FlowEvaluation(guide, noise, np.inf, nowhere, np.zeros_like(noise), nothing, ())


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
    residuals = [block.white - _score(block.layers) for block in evaluation.blocks]
    spread = np.concatenate([block.layers.spread for block in evaluation.blocks])
    marginal = np.concatenate([block.layers.marginal for block in evaluation.blocks])
    residual = np.concatenate(residuals)
    stretched = residual * spread
    before = np.vstack([np.zeros(dim, bool), np.arange(dim) > np.arange(dim)[:, None]])
    linear = np.vstack([np.ones(len(residual)), marginal.T])
    scale_gain, shift_gain = _gains(linear, stretched, residual, before)
    driving = scale_gain.sum(axis=1)[1:]
    drivers = np.zeros(dim, bool)
    drivers[np.argsort(-driving, kind="stable")[:DRIVERS]] = True
    if dim > ALL_ROWS:
        scale_gain[1:][~drivers] = 0.0
        shift_gain[1:][~drivers] = 0.0
    pairs, bend, stretch = _grow_pairs(terms, evaluation, residual, stretched, drivers, least)
    scale, shift = terms.log_scale | (scale_gain > least), terms.shift | (shift_gain > least)
    grown = Terms(terms.marginals, scale, shift, pairs, bend, stretch)
    freed = terms.marginals or terms.count > 0 or grown.count == 0
    return dataclasses.replace(grown, marginals=freed)


def _grow_pairs(
    terms: Terms,
    evaluation: FlowEvaluation,
    residual: np.ndarray,
    stretched: np.ndarray,
    drivers: np.ndarray,
    least: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    noise, dim = evaluation.noise, evaluation.guide.dim
    first, second = np.triu_indices(max(dim - 1, 0))
    if dim > ALL_PAIRS:
        wanted = (first == second) | drivers[first] | drivers[second]
        if dim > ALL_ROWS:
            wanted = drivers[first] & drivers[second]
        first, second = first[wanted], second[wanted]
    after = np.arange(dim) > second[:, None]
    # Rows are picked many times sooner than columns.
    rows = np.ascontiguousarray(noise.T)
    products = product(rows[first], rows[second], (first == second)[:, None])
    stretch_gain, bend_gain = _gains(products, stretched, residual, after)
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


def _gains(
    features: np.ndarray, stretched: np.ndarray, residual: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nats each term of the log scales, and of the shifts, promises (features, dim).

    They are zero where the gradient is not clear. Features are (features, draws).
    """
    draws, both = len(stretched), np.hstack([stretched, residual])
    mean = features @ both / draws
    variance = np.maximum(features**2 @ both**2 / draws - mean**2, 0.0) / draws
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


class TermsChart:
    """Coordinates of the free coefficients in which the Fisher information is about the identity.

    It is exactly the identity at the Gaussian.

    Args:
        guide: the flow at the origin, with room for all of `terms.pairs`.
        terms: the free coefficients.
    """

    def __init__(self, guide: TriangularFlow, terms: Terms):
        self._guide, self._terms = guide, terms
        self._dim = guide.dim
        self._scale = terms.log_scale[1:]
        self._shift = terms.shift[1:]
        self._own = 4 if terms.marginals else 2
        self._sizes = [
            self._own * self._dim,
            self._scale.sum(),
            self._shift.sum(),
            terms.bend.sum(),
            terms.stretch.sum(),
            terms.lean.sum(),
        ]
        self.size = int(sum(self._sizes))

    def guide(self, point: Float[np.ndarray, " size"]) -> TriangularFlow:
        """Return the flow at a point."""
        old = self._guide
        own, scale, shift, bend, stretch, leans = np.split(point, np.cumsum(self._sizes)[:-1])
        own = _marginal_root()[:, : self._own] @ own.reshape(self._own, self._dim)
        log_scale, shifts = old.log_scale.copy(), old.shift.copy()
        bends, stretches, lean = old.bend.copy(), old.stretch.copy(), old.lean.copy()
        log_scale[0] += own[0]
        shifts[0] += own[1]
        log_scale[1:][self._scale] += np.sqrt(0.5) * scale
        shifts[1:][self._shift] += shift
        bends[self._terms.bend] += bend
        stretches[self._terms.stretch] += np.sqrt(0.5) * stretch
        lean[self._terms.lean] += leans
        return dataclasses.replace(
            old,
            log_scale=log_scale,
            shift=shifts,
            bend=bends,
            stretch=stretches,
            lean=lean,
            skew=old.skew + own[2],
            tail=old.tail + own[3],
        )

    def gradient(self, evaluation: FlowEvaluation) -> Float[np.ndarray, " size"]:
        """Return the gradient of the loss at the evaluation's flow."""
        parts = (self._parts(evaluation.guide, block) for block in evaluation.blocks)
        own, *others = map(sum, zip(*parts, strict=True))
        root = _marginal_root()[:, : self._own]
        return -np.concatenate([(root.T @ own).ravel(), *others]) / evaluation.draws

    def _parts(self, guide: TriangularFlow, block: Block) -> list[np.ndarray]:
        """Return a block's share of the gradient, by kind of term."""
        layers, white = block.layers, block.white
        wide, stretched = white * layers.width, white * layers.spread + 1.0
        turned = guide.pull_marginal(white, stretched, wide) * layers.cosh
        turned += layers.marginal / layers.cosh
        skewed = turned * layers.weight
        tailed = turned * layers.angle + 1.0
        sums = (stretched, white, skewed, tailed)
        return [
            np.array([each.sum(axis=0) for each in sums]),
            np.sqrt(0.5) * _products(layers.marginal, stretched, self._scale),
            _products(layers.marginal, white, self._shift),
            (layers.noise.products.T @ white)[self._terms.bend],
            np.sqrt(0.5) * (layers.noise.products.T @ stretched)[self._terms.stretch],
            wide.sum(axis=0)[self._terms.lean],
        ]


def _products(features: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the sums over draws of features times values, for the wanted (features, values)."""
    rows = np.flatnonzero(wanted.any(axis=1))
    return (features[:, rows].T @ values)[wanted[rows]]


@functools.cache
def _marginal_root() -> np.ndarray:
    """Whitens log scale, shift, skew and tail of one marginal at the Gaussian."""
    # A coefficient moves x by v(e), and the score of q by v e - v'.
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    root = np.sqrt(1.0 + nodes**2)
    arcsinh = np.arcsinh(nodes)
    moves = np.array([nodes, np.ones_like(nodes), root, root * arcsinh])
    slopes = np.array([np.ones_like(nodes), 0.0 * nodes, nodes / root, nodes / root * arcsinh + 1])
    scores = moves * nodes - slopes
    information = scores * (weights / weights.sum()) @ scores.T
    factor = np.linalg.cholesky(information)
    return scipy.linalg.solve_triangular(factor, np.eye(4), lower=True).T
