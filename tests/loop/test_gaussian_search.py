"""From a density to a fitted Gaussian of the family asked for."""

import numpy as np
import pytest
from batches import covariance, gaussian, mixture
from seeds import EACH_SEED, SEEDS

from taut.loop.gaussian import FAMILIES, GaussianSearch
from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.progress import Progress
from taut.loop.stages import Outcome
from taut.loop.verdict import Verdict

SINGLE, DOUBLE = 4.0 * np.finfo(np.float32).eps, 4.0 * np.finfo(np.float64).eps


def _search(name, batch, dim, seed=0, resolution=DOUBLE, modes=False):
    monitor = Monitor(batch, Progress(False))
    streams = [np.random.default_rng([seed, stream]) for stream in (0, 1)]
    return GaussianSearch(name, modes, dim, monitor, resolution, *streams)


@EACH_SEED
def test_full_rank_finds_a_gaussian_exactly(seed, same_to_rounding):
    rng = np.random.default_rng([seed, 9])
    mean, cov = rng.normal(size=5), covariance(5, rng)
    search = _search("full-rank", gaussian(mean, cov), 5, seed)
    outcome = search.run()
    assert outcome.verdict.converged
    same_to_rounding(outcome.guide.loc, mean, condition=1e4)
    same_to_rounding(outcome.guide.scale_tril, np.linalg.cholesky(cov), condition=1e4)
    assert (search.starts, [basin.hits for basin in search.found]) == (8, [8])
    same_to_rounding(search.settled_loss, 0.0, condition=1e4)


@EACH_SEED
def test_every_family_finds_independent_coordinates(seed):
    # All three contain the posterior; what is lost is the divergence, at most a few tolerances.
    rng = np.random.default_rng([seed, 9])
    mean, sd = rng.normal(size=12), rng.uniform(0.3, 2.0, 12)
    for name in FAMILIES:
        outcome = _search(name, gaussian(mean, np.diag(sd**2)), 12, seed).run()
        assert outcome.guide.name == name
        assert outcome.verdict.converged
        offset, ratio = (outcome.guide.mean() - mean) / sd, outcome.guide.sd() / sd
        lost = 0.5 * (offset**2 + ratio**2 - 1.0 - 2.0 * np.log(ratio)).sum()
        assert lost < 0.05, name


@pytest.mark.parametrize(
    ("name", "dim", "family"),
    [
        ("auto", 256, "full-rank"),
        ("auto", 257, "mean-field"),  # exact already
        ("low-rank", 257, "low-rank"),
        ("mean-field", 2, "mean-field"),
    ],
)
def test_the_family_follows_from_the_dimension_unless_it_is_asked_for(name, dim, family):
    search = _search(name, gaussian(np.zeros(dim), np.eye(dim)), dim)
    assert search.run().guide.name == family


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_every_correlation_of_three_hundred_coordinates_is_held(seed):
    rng = np.random.default_rng([seed, 9])
    dim = 300
    axes = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    cov = (axes * np.geomspace(0.03, 30.0, dim)) @ axes.T
    search = _search("auto", gaussian(np.zeros(dim), cov), dim, seed)
    outcome = search.run()
    assert outcome.verdict.converged
    assert outcome.guide.name == "full-rank"
    ratio = outcome.guide.sd() / np.sqrt(np.diagonal(cov))
    assert np.abs(ratio - 1.0).max() < 1e-3
    # Log densities are normalised: the ELBO falls short of zero by what was lost.
    assert -1e-3 < outcome.rungs["full-rank"].mean() < 1e-3


def test_where_a_gradient_is_dear_the_covariance_is_a_low_rank_one():
    dim = 260
    batch = gaussian(np.zeros(dim), 0.5 * np.eye(dim) + 0.5)
    monitor = Monitor(batch, Progress(False))
    streams = [np.random.default_rng([0, stream]) for stream in (0, 1)]
    search = GaussianSearch("auto", False, dim, monitor, DOUBLE, *streams, work=1e9)
    assert search.run().guide.name == "low-rank"


def test_low_rank_finds_shared_directions_in_high_dimension():
    rng = np.random.default_rng(0)
    dim, rank = 300, 3
    factor = 2.0 * np.linalg.qr(rng.normal(size=(dim, rank)))[0] * np.sqrt(dim / rank)
    sd = np.sqrt(1.0 + (factor**2).sum(axis=1))
    cov = np.eye(dim) + factor @ factor.T
    widths = {}
    for name in ("low-rank", "mean-field"):
        outcome = _search(name, gaussian(np.zeros(dim), cov), dim).run()
        assert outcome.verdict.converged
        widths[name] = outcome.guide.sd() / sd
    # Independent coordinates have the conditional widths, about 1 of 2.2; shared ones the true.
    assert np.median(widths["mean-field"]) < 0.55
    assert 0.95 < widths["low-rank"].min() <= widths["low-rank"].max() < 1.05


@EACH_SEED
def test_a_second_mode_is_kept_beside_the_better_one(seed, same_to_rounding):
    # Starts lie within 2 of zero: modes at -6 and 6 attract about half of them each.
    centres = [np.full(2, -6.0), np.full(2, 6.0)]
    search = _search("full-rank", mixture(centres, [0.4, 0.6]), 2, seed)
    outcome = search.run()
    assert outcome.verdict.converged
    assert outcome.guide.loc == pytest.approx(centres[1], abs=0.01)
    other = search.found[1].evaluation
    assert other.guide.loc == pytest.approx(centres[0], abs=0.3)
    # Overlap and the brief fit of the other are far below the difference of their shares.
    assert other.loss - search.settled_loss == pytest.approx(np.log(0.6 / 0.4), abs=0.05)


@EACH_SEED
def test_separate_modes_become_a_mixture_with_their_shares(seed):
    # In ten dimensions and 22 apart: all first starts climb to the same mode.
    centres = list(np.random.default_rng(3).normal(0.0, 5.0, (4, 10)))
    search = _search("auto", mixture(centres, [0.4, 0.3, 0.2, 0.1]), 10, seed)
    guide = search.run().guide
    assert guide.name == "mixture"
    # Every draw has the same weight, so the shares are exact up to the fits of the components.
    assert guide.weights == pytest.approx([0.4, 0.3, 0.2, 0.1], abs=0.005)
    assert guide.loc == pytest.approx(np.array(centres), abs=0.05)
    assert all(basin.hits > 1 for basin in search.found)


@EACH_SEED
def test_one_solution_seen_from_far_out_stays_one_gaussian(seed):
    rng = np.random.default_rng([seed, 9])
    batch = gaussian(rng.normal(size=5), covariance(5, rng))
    for modes in (False, True):
        search = _search("auto", batch, 5, seed, modes=modes)
        assert search.run().guide.name == "full-rank"
        assert len(search.found) == 1
        assert search.starts > (200 if modes else 20)


def test_a_mixture_that_is_asked_for_holds_what_was_found():
    guide = _search("mixture", gaussian(np.zeros(3), np.eye(3)), 3).run().guide
    assert guide.name == "mixture"
    assert guide.weights == pytest.approx([1.0])


CONVERGED = Verdict(True, "converged", "converged", 0.0)
NEEDS = {
    "nothing": (SINGLE, CONVERGED, 10.0, ""),
    "not finite": (SINGLE, Verdict(False, "non-finite", ""), 10.0, "not finite at many draws"),
    "not settled": (SINGLE, Verdict(False, "evaluations", ""), 10.0, "did not settle"),
    "large values": (SINGLE, CONVERGED, 1.1e5, "a log density of size 1e+05 is rounded too much"),
    "values just small enough": (SINGLE, CONVERGED, 1.0e5, ""),
    "double already": (DOUBLE, Verdict(False, "evaluations", ""), 1e12, ""),
}


@pytest.mark.parametrize("name", NEEDS)
def test_double_precision_is_asked_for_with_its_reason(name):
    resolution, verdict, loss, reason = NEEDS[name]
    search = _search("auto", gaussian(np.zeros(1), np.eye(1)), 1, resolution=resolution)
    search.settled_loss = loss
    found = search.needs_double(Outcome(None, verdict))
    assert found == reason if not reason else reason in found


@pytest.mark.parametrize("dim", [3, 300])
def test_what_is_going_to_be_fitted_in_double_is_not_fitted_in_single_first(dim):
    plain = gaussian(np.ones(dim), np.eye(dim))

    def large(z):
        values, gradients = plain(z)
        return values - 1e6, gradients

    spent = []
    for resolution in (SINGLE, DOUBLE):
        search = _search("auto", large, dim, resolution=resolution)
        outcome = search.run()
        spent.append(search._monitor.gradients)
        told = "a log density of size 1e+06 is rounded too much" if resolution == SINGLE else ""
        assert search.needs_double(outcome) == told
        assert outcome.verdict.converged == (resolution == DOUBLE)
    assert spent[0] < spent[1]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_fit_that_never_began_has_a_guide_of_its_family_at_the_best_point(name):
    batch = gaussian(np.ones(3), np.eye(3))
    guide = _search(name, batch, 3).fallback()
    assert guide.name == ("full-rank" if name == "full-rank" else "mean-field")
    np.testing.assert_allclose(guide.sd(), 0.1, rtol=1e-12)
    starts = _search(name, batch, 3).fallback().mean()
    assert batch(starts[None])[0] >= batch(np.zeros((1, 3)))[0]


@pytest.mark.parametrize("name", FAMILIES)
def test_out_of_time_comes_out_with_the_best_so_far(name):
    batch = gaussian(np.ones(3), np.eye(3))
    search = _search(name, batch, 3)
    monitor = search._monitor
    monitor._batch = lambda z: (setattr(monitor, "deadline", 0.0), batch(z))[1]
    with pytest.raises(OutOfTime):
        search.run()
    assert monitor.gradients == search.starts
