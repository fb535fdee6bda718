"""Points annealed from a wide Gaussian gather where the mass is."""

import numpy as np
from scipy.special import logsumexp
from seeds import SEEDS

from taut.guides.full_rank import FullRankNormal
from taut.solvers.tempering import anneal

PLACES = np.array([[-6.0, 0.0], [6.0, 2.0]])
WIDTHS = np.array([2.0, 0.3])
SHARES = np.array([0.3, 0.7])


def _two_bumps(z):
    away = z[:, None] - PLACES
    parts = -0.5 * (away**2).sum(axis=2) / WIDTHS**2 - 2.0 * np.log(WIDTHS) + np.log(SHARES)
    values = logsumexp(parts, axis=1)
    shares = np.exp(parts - values[:, None])
    return values, -(shares[:, :, None] * away / WIDTHS[:, None] ** 2).sum(axis=1)


def test_points_gather_by_mass_not_by_slope(within_error):
    """The wide bump catches nine of ten points by slope; the narrow one has 0.7 of the mass."""
    wide = FullRankNormal(np.zeros(2), 10.0 * np.eye(2))
    found = []
    for seed in SEEDS:
        points = anneal(_two_bumps, wide, 256, np.random.default_rng(seed))
        found.append(np.mean(points[:, 0] > 3.0))
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    within_error(np.mean(found), SHARES[1], error)
    assert error < 0.08  # by slope they would be nine in ten on the other side


def test_points_without_a_density_are_left_behind():
    def half(z):
        inside = z[:, 0] > 0.0
        values = np.where(inside, -0.5 * (z**2).sum(axis=1), -np.inf)
        return values, np.where(inside[:, None], -z, 0.0)

    wide = FullRankNormal(np.zeros(1), 3.0 * np.eye(1))
    points = anneal(half, wide, 256, np.random.default_rng(0))
    assert len(points) > 200
    assert (points > 0.0).all()
    # The mean of a half normal, within five standard errors of 256 draws.
    assert abs(points.mean() - np.sqrt(2.0 / np.pi)) < 5.0 * 0.6 / 16.0


def test_nothing_comes_back_from_nowhere():
    def nowhere(z):
        return np.full(len(z), -np.inf), np.zeros_like(z)

    wide = FullRankNormal(np.zeros(2), np.eye(2))
    assert len(anneal(nowhere, wide, 64, np.random.default_rng(0))) == 0
