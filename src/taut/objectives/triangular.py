"""The ELBO of a triangular flow on fixed noise."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from taut.guides.flow_layers import Layers, Noise
from taut.guides.guide import LOG_2PI
from taut.guides.triangular import TriangularFlow
from taut.objectives.matched_elbo import Batch, Evaluation, begin, parts_of


@dataclasses.dataclass(frozen=True)
class Block:
    """Some draws of an evaluation.

    Attributes:
        layers: the map at their noise.
        white: gradients with respect to x (dim, draws).
    """

    layers: Layers
    white: Float[np.ndarray, "dim draws"]


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
        blocks = [
            Block(guide.layers(guide.prepared(block.layers.noise)), block.white)
            for block in self.blocks
        ]
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
        ends = np.cumsum([block.draws for block in prepared])[:-1]
        white = [guide.whitened(some) for some in np.split(gradients, ends)]
    # Draws without a density have gradients of zero, and may still show which terms are missing.
    loss = loss if np.isfinite(loss) else np.inf
    blocks = tuple(Block(*each) for each in zip(layers, white, strict=True))
    return FlowEvaluation(guide, noise, loss, values, gradients, log_det, blocks)


def _lost(guide: TriangularFlow, noise: np.ndarray) -> FlowEvaluation:
    """Return the evaluation of a map that overflows."""
    nothing, nowhere = np.zeros(len(noise)), np.full(len(noise), -np.inf)
    return FlowEvaluation(guide, noise, np.inf, nowhere, np.zeros_like(noise), nothing, ())
