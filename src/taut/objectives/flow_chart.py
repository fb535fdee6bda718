"""Coordinates of the free coefficients of a triangular flow, in which its ELBO is descended."""

import dataclasses
import functools

import numpy as np
import scipy.linalg
from jaxtyping import Float

from taut.guides.flow_layers import FEW, features
from taut.guides.triangular import TriangularFlow
from taut.objectives.flow_terms import Terms
from taut.objectives.triangular import Block, FlowEvaluation


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
        free = np.flatnonzero((self._scale | self._shift).any(axis=1))
        self._drivers = free if self._dim > FEW else np.arange(self._dim)
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
        guide, terms, dim = evaluation.guide, self._terms, self._dim
        sums = zip(*(self._sums(guide, block) for block in evaluation.blocks), strict=True)
        products, skewed, tailed, wide = (functools.reduce(np.add, each) for each in sums)
        drivers = self._drivers
        constant, squared, linear = np.split(products, [1, 1 + len(terms.pairs)])
        # The exponent is the angle less log 2.
        tailed = tailed + np.log(2.0) * skewed + evaluation.draws
        own = [*constant.reshape(2, dim), skewed * np.exp(guide.tail), tailed]
        root = _marginal_root()[:, : self._own]
        parts = [
            (root.T @ np.array(own)).ravel(),
            np.sqrt(0.5) * linear[:, :dim][self._scale[drivers]],
            linear[:, dim:][self._shift[drivers]],
            squared[:, dim:][terms.bend],
            np.sqrt(0.5) * squared[:, :dim][terms.stretch],
            wide[terms.lean],
        ]
        return -np.concatenate(parts) / evaluation.draws

    def _sums(self, guide: TriangularFlow, block: Block) -> tuple[np.ndarray, ...]:
        """Return sums over a block's draws.

        Of features times the gradients with respect to log scales and shifts (features, 2 dim), of
        the gradient with respect to the angle, of that times the exponent, and of the gradient with
        respect to h + lean (dim,).
        """
        layers = block.layers
        pulled = guide.pulled(layers, block.white)
        turned = pulled.marginal * layers.cosh
        turned += layers.marginal / layers.cosh
        return (
            features(layers.marginal, layers.noise, self._drivers) @ pulled.both.T,
            turned.sum(axis=1),
            np.einsum("ij,ij->i", turned, layers.exponent),
            pulled.wide.sum(axis=1),
        )


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
