"""Bending a Gaussian into a flow, on posteriors whose evidence is known."""

import dataclasses

import numpy as np
import pytest
from batches import covariance, gaussian, log_gamma
from seeds import EACH_SEED

from taut.guides.full_rank import FullRankNormal
from taut.guides.mixture_normal import MixtureNormal
from taut.guides.triangular import TriangularFlow
from taut.loop import flow
from taut.loop.allowance import ALLOWED_FITS
from taut.loop.flow import (
    FEWEST_DRAWS,
    FINISHED,
    LARGEST_DRAWS,
    LOOSER,
    FlowFit,
    _better,
    _lacking,
    _wild,
    climb,
)
from taut.loop.gaussian import GaussianSearch
from taut.loop.monitor import Monitor, OutOfTime
from taut.loop.progress import Progress
from taut.loop.stages import default_tolerance
from taut.posterior.draws import Draws

DOUBLE = 4.0 * np.finfo(float).eps
LOG_2PI = np.log(2.0 * np.pi)


def _funnel(z):
    v, rest = z[:, 0], z[:, 1:]
    others = rest.shape[1]
    # A line search may look where this overflows.
    with np.errstate(over="ignore", invalid="ignore"):
        shrink, squares = np.exp(-v), (rest**2).sum(axis=1)
        values = -0.5 * v**2 - 0.5 * shrink * squares - 0.5 * others * v
        own = -v + 0.5 * shrink * squares - 0.5 * others
        constant = -0.5 * (others + 1) * LOG_2PI
        return constant + values, np.column_stack([own, -shrink[:, None] * rest])


_round = gaussian(np.zeros(2), np.array([[2.0, 0.6], [0.6, 1.0]]))


def _banana(z):
    off = z[:, 1] - 0.5 * z[:, 0] ** 2
    values = -0.5 * z[:, 0] ** 2 - 0.5 * off**2 - LOG_2PI
    return values, np.column_stack([-z[:, 0] + off * z[:, 0], -off])


def _scaled(log_scale, slope, lean):
    """A standard normal v, and (lean + another) times a scale that hangs on v."""

    def batch(z):
        v, x = z.T
        with np.errstate(over="ignore", invalid="ignore"):
            noise = x * np.exp(-log_scale(v)) - lean
            values = -0.5 * v**2 - 0.5 * noise**2 - log_scale(v) - LOG_2PI
            down = slope(v) * ((noise + lean) * noise - 1.0)
            return values, np.column_stack([-v + down, -noise * np.exp(-log_scale(v))])

    return batch


# A scale quadratic in what it hangs on; and a shift that shrinks with the scale.
_bent_scale = _scaled(lambda v: 0.2 * (v**2 - 1.0) + 0.3 * v, lambda v: 0.4 * v + 0.3, 0.0)
_leaning = _scaled(lambda v: 0.6 * v, lambda v: 0.6, 1.5)


def _skewed(z):
    values, gradients = log_gamma(0.7)(z)
    # The logarithm of Gamma(0.7).
    return values - 0.26086724653166654 * z.shape[1], gradients


POSTERIORS = {
    "funnel": (_funnel, 5),
    "banana": (_banana, 2),
    "bent scale": (_bent_scale, 2),
    "leaning": (_leaning, 2),
    "log-gamma": (_skewed, 3),
}


def _fit(name, batch, dim, seed, **options):
    monitor = Monitor(batch, Progress(False))
    streams = [np.random.default_rng([seed, stream]) for stream in range(4)]
    outcome = GaussianSearch("full-rank", False, dim, monitor, DOUBLE, *streams[:2]).run()
    return outcome, climb(name, outcome, monitor, streams[3], DOUBLE, 1.0), monitor


def _elbo(batch, guide, seed):
    noise = np.random.default_rng([seed, 9]).standard_normal((20_000, guide.dim))
    z = guide.transform(noise)
    ratios = batch(z)[0] - guide.log_prob(z)
    return ratios.mean(), ratios.std() / np.sqrt(len(ratios))


def _drawn(guide, batch, rng):
    z, log_q = guide.draw(4096, rng)
    return Draws(z, batch(z)[0], log_q)


@EACH_SEED
@pytest.mark.parametrize("name", POSTERIORS)
def test_what_the_flow_holds_it_finds(name, seed):
    # The evidence is one. All are flows of this kind; a log-gamma nearly is.
    batch, dim = POSTERIORS[name]
    before, after, _ = _fit("auto", batch, dim, seed)
    assert after.guide.name == "flow"
    assert after.verdict.converged
    elbo, error = _elbo(batch, after.guide, seed)
    lower, _ = _elbo(batch, before.guide, seed)
    assert elbo > lower
    assert -max(0.05, 3.0 * after.verdict.expected_gap) - 5.0 * error < elbo < 5.0 * error


@EACH_SEED
def test_a_round_that_wins_nothing_is_the_last_and_is_not_kept(seed, monkeypatch):
    batch, dim = POSTERIORS["funnel"]
    seen, evaluate = [], FlowFit._evaluate

    def evaluated(self, guide, draws):
        seen.append(guide)
        return evaluate(self, guide, draws)

    monkeypatch.setattr(FlowFit, "_evaluate", evaluated)
    monkeypatch.setattr(FlowFit, "_gain", lambda *arguments: -0.1)
    _, after, _ = _fit("auto", batch, dim, seed)
    # The Gaussian, and what the first two rounds made of it.
    assert len(seen) == 3
    assert after.guide is seen[1]


@pytest.mark.parametrize(("share", "goes_on"), [(0.9, False), (1.1, True)])
def test_a_round_that_wins_a_quarter_of_the_tolerance_is_not_the_last(share, goes_on, monkeypatch):
    batch, dim = POSTERIORS["funnel"]
    tolerance, rounds, optimise = LOOSER * default_tolerance(dim), [], FlowFit._optimise

    def counted(self, terms, start):
        rounds.append(len(start.noise))
        return optimise(self, terms, start)

    monkeypatch.setattr(FlowFit, "_optimise", counted)
    monkeypatch.setattr(FlowFit, "_gain", lambda *arguments: share * FINISHED * tolerance)
    # Each round finds one more term.
    monkeypatch.setattr(flow, "grow", lambda terms, evaluation, least: _one_more(terms))
    _fit("auto", batch, dim, 0)
    assert (len(rounds) > 2) == goes_on


def _one_more(terms):
    free = np.argwhere(~terms.shift[1:] & (np.arange(5) > np.arange(5)[:, None]))
    shift = terms.shift.copy()
    shift[1:][tuple(free[0])] = True
    return dataclasses.replace(terms, shift=shift)


@EACH_SEED
def test_a_gain_is_told_on_the_same_draws(seed):
    cov, scale = np.eye(3), 1.1
    right, wide = (
        TriangularFlow.around(FullRankNormal(np.zeros(3), s * np.eye(3))) for s in (1.0, scale)
    )
    monitor, rng = Monitor(gaussian(np.zeros(3), cov), Progress(False)), np.random.default_rng(seed)
    fit = FlowFit(monitor, rng, DOUBLE, 0.02, np.inf)
    fresh = fit._evaluate(right, 512)
    # What is lost by a wide Gaussian in closed form; its draws have exactly the moments.
    lost = 3.0 * (0.5 * (scale**2 - 1.0) - np.log(scale))
    assert fit._gain(wide, fresh) == pytest.approx(lost, abs=1e-9)


@EACH_SEED
def test_a_gaussian_stays_a_gaussian(seed):
    rng = np.random.default_rng(seed)
    batch = gaussian(rng.normal(size=6), covariance(6, rng))
    before, after, monitor = _fit("auto", batch, 6, seed)
    assert after is before
    # Even if it is asked for, a flow that gains nothing is not returned.
    always = FlowFit(monitor, rng, DOUBLE, 0.02, np.inf).run(before, always=True)
    assert always.guide.name == "full-rank" or _elbo(batch, always.guide, seed)[0] > -0.02


@EACH_SEED
def test_a_gaussian_known_to_misfit_is_tried_again(seed):
    batch = log_gamma(12.0)
    before, after, monitor = _fit("auto", batch, 2, seed)
    assert after is before
    spent = monitor.gradients
    rng = np.random.default_rng(seed)
    bent = climb("auto", before, monitor, rng, DOUBLE, 1.0, _drawn(before.guide, batch, rng))
    assert monitor.gradients > spent + FEWEST_DRAWS
    lower, _ = _elbo(batch, before.guide, seed)
    elbo, error = _elbo(batch, bent.guide, seed)
    assert bent is before or elbo > lower - 2.0 * error


def test_a_draw_that_gains_very_much_does_not_hide_what_all_gain():
    rng = np.random.default_rng(0)
    gains = rng.normal(0.02, 0.1, 1024)
    gains[0] = 200.0
    assert _better(gains, np.zeros(1024))
    assert not _better(-gains, np.zeros(1024))


def _both(batch, share, distance=60.0):
    """A density and a Gaussian of some share far from it."""
    far = gaussian(np.full(2, distance), np.eye(2))

    def joint(z):
        values, gradients = batch(z)
        others, theirs = far(z)
        values, others = values + np.log1p(-share), others + np.log(share)
        total = np.logaddexp(values, others)
        first = np.exp(values - total)[:, None]
        return total, first * gradients + (1.0 - first) * theirs

    return joint


def _mixture(gaussian_guide, share, distance=60.0):
    locs = np.array([gaussian_guide.loc, np.full(2, distance)])
    trils = np.array([gaussian_guide.scale_tril, np.eye(2)])
    return MixtureNormal(np.array([1.0 - share, share]), locs, trils)


@EACH_SEED
@pytest.mark.parametrize(
    ("batch", "share", "expected"),
    [(_banana, 2e-3, "flow"), (_banana, 0.02, "mixture"), (_round, 2e-3, "mixture")],
)
def test_next_to_no_mass_elsewhere_does_not_keep_the_rest_from_being_bent(
    batch, share, expected, seed
):
    before, _, _ = _fit("auto", batch, 2, seed)
    monitor = Monitor(_both(batch, share), Progress(False))
    outcome = dataclasses.replace(before, guide=_mixture(before.guide, share))
    after = climb("auto", outcome, monitor, np.random.default_rng(seed), DOUBLE, 1.0)
    assert after.guide.name == expected
    assert monitor.best is after.guide or expected == "mixture"
    if expected == "flow":
        assert list(after.rungs) == ["mixture", "full-rank", "flow"]
        elbo, error = _elbo(_both(batch, share), after.guide, seed)
        assert elbo > np.log1p(-share) - 0.05 - 5.0 * error


def test_other_guides_are_left_alone():
    for name in ("full-rank", "mixture"):
        before, after, _ = _fit(name, _banana, 2, 0)
        assert after is before


def test_a_flow_takes_no_more_gradients_than_the_fit_before_it_allows():
    monitor = Monitor(_banana, Progress(False))
    streams = [np.random.default_rng(stream) for stream in range(3)]
    outcome = GaussianSearch("full-rank", False, 2, monitor, DOUBLE, *streams[:2]).run()
    spent, costly = monitor.gradients, 1e9
    assert climb("auto", outcome, monitor, streams[2], DOUBLE, costly).guide.name == "flow"
    # The evaluation under way when they are used up is the last but one.
    assert monitor.gradients - spent <= ALLOWED_FITS * spent + 2 * LARGEST_DRAWS


def test_a_spent_budget_leaves_the_gaussian_as_the_best_so_far():
    monitor = Monitor(_banana, Progress(False))
    streams = [np.random.default_rng(stream) for stream in range(3)]
    outcome = GaussianSearch("full-rank", False, 2, monitor, DOUBLE, *streams[:2]).run()
    monitor.deadline = 0.0
    with pytest.raises(OutOfTime):
        climb("auto", outcome, monitor, streams[2], DOUBLE, 1.0)
    assert monitor.best is outcome.guide
    assert isinstance(outcome.guide, FullRankNormal)


def _crescent(z):
    """Standard normals w and u, seen as w**2 - u = 1 with an error of 0.1."""
    w, u = z.T
    off = (w**2 - u - 1.0) / 0.1
    values = -0.5 * (w**2 + u**2 + off**2) - 1.5 * LOG_2PI - np.log(0.1)
    return values, np.column_stack([-w - 20.0 * off * w, -u + 10.0 * off])


def _lobes(seed):
    """The ends of the crescent as a mixture of two Gaussians."""
    locs = np.array([[0.8, -0.4], [-0.8, -0.4]])
    lean = np.array([[[0.4, 0.0], [0.5, 0.15]], [[0.4, 0.0], [-0.5, 0.15]]])
    mixture = MixtureNormal(np.array([0.5, 0.5]), locs, lean)
    before, _, _ = _fit("auto", _round, 2, seed)
    return dataclasses.replace(before, guide=mixture)


@EACH_SEED
def test_the_ends_of_a_crescent_become_one_piece(seed):
    grid = np.linspace(-6.0, 6.0, 4001)
    joint = -0.5 * grid**2 - 0.5 * (grid**2 - 1.0) ** 2 / 1.01 - LOG_2PI - 0.5 * np.log(1.01)
    evidence = np.log(np.exp(joint).sum() * (grid[1] - grid[0]))
    outcome, rng = _lobes(seed), np.random.default_rng(seed)
    monitor = Monitor(_crescent, Progress(False))
    drawn = _drawn(outcome.guide, _crescent, rng)
    after = climb("auto", outcome, monitor, rng, DOUBLE, 1.0, drawn)
    assert after.guide.name == "flow"
    assert after.joined
    assert list(after.rungs) == ["mixture", "flow"]
    elbo, error = _elbo(_crescent, after.guide, seed)
    assert evidence - 0.2 < elbo < evidence + 5.0 * error
    assert elbo > drawn.log_ratios.mean()


@EACH_SEED
def test_a_solution_that_a_flow_leaves_out_keeps_the_mixture(seed):
    batch, rng = _both(_banana, 0.3), np.random.default_rng(seed)
    before, _, _ = _fit("auto", _banana, 2, seed)
    outcome = dataclasses.replace(before, guide=_mixture(before.guide, 0.3))
    monitor = Monitor(batch, Progress(False))
    drawn = _drawn(outcome.guide, batch, rng)
    after = climb("auto", outcome, monitor, rng, DOUBLE, 1.0, drawn)
    assert after is outcome
    assert monitor.best is outcome.guide


def test_a_spent_budget_leaves_the_mixture_as_the_best_so_far():
    outcome, rng = _lobes(0), np.random.default_rng(0)
    drawn = _drawn(outcome.guide, _crescent, rng)
    for guide in (outcome.guide, _mixture(outcome.guide.components[0], 2e-3)):
        monitor = Monitor(_crescent, Progress(False), deadline=0.0)
        given = dataclasses.replace(outcome, guide=guide)
        misfit = drawn if guide is outcome.guide else None
        with pytest.raises(OutOfTime):
            climb("auto", given, monitor, rng, DOUBLE, 1.0, misfit)
        assert monitor.best is guide


def test_what_the_first_try_took_is_not_there_for_the_second():
    outcome, rng = _lobes(0), np.random.default_rng(0)
    monitor = Monitor(_crescent, Progress(False))
    drawn = _drawn(outcome.guide, _crescent, rng)
    monitor.gradients = 10_000
    assert climb("auto", outcome, monitor, rng, DOUBLE, 1e9, drawn, spent=2_000) is outcome
    assert monitor.gradients == 10_000


def test_where_a_flow_overflows_it_covers_nothing():
    after = _fit("auto", _funnel, 3, 0)[1]
    assert after.guide.name == "flow"
    z = np.array([[0.0, 0.1, 0.1], [1e4, 1e4, -1e4]])
    shares = np.log([0.25, 0.75])
    drawn = Draws(z, np.array([_funnel(z[:1])[0][0], 0.0]), np.zeros(2))
    drawn = dataclasses.replace(drawn, log_q=drawn.log_p - shares)
    assert _lacking(after.guide, np.zeros(1), drawn) == pytest.approx(0.75)


def test_a_map_beyond_its_arithmetic_is_not_kept():
    gaussian_flow = TriangularFlow.around(FullRankNormal(np.array([3e3]), np.array([[1e3]])))
    assert not _wild(gaussian_flow)
    # The angle is lost beside one: all draws are one number, far off, of a finite Jacobian.
    rows = np.array([[77.0], [0.0]])
    stuck = dataclasses.replace(
        gaussian_flow, log_scale=rows, skew=np.array([7.0]), tail=np.array([-39.0])
    )
    noise = np.random.default_rng(0).standard_normal((100, 1))
    assert np.isfinite(stuck.log_det(noise)).all()
    assert _wild(stuck)
    # A scale beyond all numbers.
    assert _wild(dataclasses.replace(gaussian_flow, log_scale=10.0 * rows))
