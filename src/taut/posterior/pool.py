"""The stored posterior draws, in the model's own coordinates.

All that a fit reports of the posterior (samples, moments, tables) comes from one pool, so that they
agree with each other and survive saving without the model.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float


@dataclasses.dataclass(frozen=True)
class Pool:
    """Posterior draws.

    Attributes:
        values: constrained values by site, each with a leading axis of draws.
        z: latent vectors (draws, dim).
        log_p: log densities of the target in the latent space (draws,).
        source: "chains" (short HMC), "weights" (importance resampled) or "guide" (as drawn).
        chains: how many independent chains the draws belong to, in rows of that length; with
            source "weights" the effective number of draws, otherwise the number of draws.
    """

    values: Mapping[str, np.ndarray]
    z: Float[np.ndarray, "draws dim"]
    log_p: Float[np.ndarray, " draws"]
    source: str
    chains: int

    def __len__(self) -> int:
        return len(self.z)

    def take(self, n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return `n` draws chosen at random without repetition."""
        rows = rng.permutation(len(self))[:n]
        return {name: value[rows] for name, value in self.values.items()}

    def flat(self, names: Sequence[str]) -> Float[np.ndarray, "draws scalars"]:
        """Return sites side by side as columns of scalars, in the order of `names`."""
        return side_by_side([self.values[name] for name in names])

    def effective(self, name: str) -> Float[np.ndarray, "..."]:
        """Return the effective number of draws for the mean of each scalar of a site.

        Chains are independent of each other, so the spread of their means is the error of the
        overall mean, whatever the correlation within a chain.
        """
        value = np.asarray(self.values[name], float)
        if self.source != "chains":
            return np.full(value.shape[1:], float(self.chains))
        by_chain = value.reshape(-1, self.chains, *value.shape[1:])
        spread = by_chain.mean(axis=0).var(axis=0, ddof=1) / self.chains
        variance = value.var(axis=0, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            effective = np.where(spread > 0, variance / spread, float(len(self)))
        return np.asarray(np.minimum(effective, float(len(self))))


def side_by_side(values: Sequence[np.ndarray]) -> Float[np.ndarray, "draws scalars"]:
    """Return arrays of draws, each flattened to columns of scalars, next to each other."""
    return np.concatenate([np.asarray(v, float).reshape(len(v), -1) for v in values], axis=1)
