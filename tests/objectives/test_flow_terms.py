"""The objective of a triangular flow: gradients, curvature, and the terms that are taken on."""

import dataclasses

import numpy as np
import pytest
from batches import covariance, gaussian, log_gamma
from seeds import EACH_SEED

from taut.guides.flow_layers import FEW
from taut.guides.full_rank import FullRankNormal
from taut.guides.noise import matched_noise
from taut.guides.triangular import TriangularFlow
from taut.objectives import matched_elbo
from taut.objectives.flow_chart import TermsChart
from taut.objectives.flow_terms import Terms, grow
from taut.objectives.triangular import evaluate_flow

DIM = 4
LEAST = 5e-4


def funnel(z):
    """A neck of sd 3 that scales the others."""
    v, rest = z[:, 0], z[:, 1:]
    squares = (rest**2).sum(axis=1)
    shrink = np.exp(-v)
    others = rest.shape[1]
    values = -0.5 * v**2 / 9.0 - 0.5 * shrink * squares - 0.5 * others * v
    own = -v / 9.0 + 0.5 * shrink * squares - 0.5 * others
    return values, np.column_stack([own, -shrink[:, None] * rest])


def banana(z):
    """A parabola: the second coordinate follows the square of the first."""
    off = z[:, 1] - 0.5 * z[:, 0] ** 2
    values = -0.5 * z[:, 0] ** 2 - 0.5 * off**2
    return values, np.column_stack([-z[:, 0] + off * z[:, 0], -off])


def _terms(dim, rng):
    index = np.arange(dim)
    after = np.vstack([np.ones(dim, bool), index > index[:, None]])
    pairs = np.array([[0, 0], [0, 1], [1, 2]])
    free = after & (rng.random(after.shape) < 0.7)
    free[0] = True
    after = index > pairs.max(axis=1)[:, None]
    return Terms(True, free, free, pairs, after, after)


def _around(dim, rng):
    return TriangularFlow.around(
        FullRankNormal(rng.normal(size=dim), np.linalg.cholesky(covariance(dim, rng)))
    )


@EACH_SEED
@pytest.mark.parametrize("dim", [DIM, FEW + 1])
def test_the_gradient_is_the_slope_of_the_loss(seed, dim):
    rng = np.random.default_rng(seed)
    terms = _terms(dim, rng)
    chart = TermsChart(terms.flow(_around(dim, rng)), terms)
    noise = matched_noise(64, dim, rng)
    point, direction = 0.1 * DIM / dim * rng.normal(size=(2, chart.size))

    def loss(step):
        flow = chart.guide(point + step * direction)
        return evaluate_flow(log_gamma(2.0), flow, noise)

    slope = chart.gradient(loss(0.0)) @ direction
    # Richardson's extrapolation of two central differences: an error of order h^4.
    first, second = ((loss(h).loss - loss(-h).loss) / (2.0 * h) for h in (2e-3, 1e-3))
    assert (4.0 * second - first) / 3.0 == pytest.approx(slope, rel=1e-6, abs=1e-6)


def test_draws_without_a_density_leave_the_others_known():
    flow = TriangularFlow.around(FullRankNormal(np.zeros(2), np.eye(2)))
    noise = matched_noise(64, 2, np.random.default_rng(0))

    def walled(z):
        values, gradients = banana(z)
        inside = z[:, 0] < 1.0
        return np.where(inside, values, -np.inf), np.where(inside[:, None], gradients, 0.0)

    seen, whole = evaluate_flow(walled, flow, noise), evaluate_flow(banana, flow, noise)
    assert seen.loss == np.inf
    inside = noise[:, 0] < 1.0
    assert 0 < inside.sum() < 64
    np.testing.assert_array_equal(seen.values[inside], whole.values[inside])
    np.testing.assert_array_equal(seen.log_det, whole.log_det)
    (block,), (other,) = seen.blocks, whole.blocks
    np.testing.assert_array_equal(block.white[:, inside], other.white[:, inside])
    assert (block.white[:, ~inside] == 0.0).all()


@EACH_SEED
def test_blocks_of_draws_make_the_same_evaluation(seed, monkeypatch, same_to_rounding):
    rng = np.random.default_rng(seed)
    terms = _terms(DIM, rng)
    chart = TermsChart(terms.flow(_around(DIM, rng)), terms)
    flow, noise = chart.guide(0.1 * rng.normal(size=chart.size)), matched_noise(100, DIM, rng)
    whole = evaluate_flow(log_gamma(2.0), flow, noise)
    monkeypatch.setattr(matched_elbo, "PART", 32)
    parts = evaluate_flow(log_gamma(2.0), flow, noise)
    prepared = [block.layers.noise for block in parts.blocks]
    again = evaluate_flow(log_gamma(2.0), flow, noise, prepared)
    assert [block.white.shape[1] for block in parts.blocks] == [32, 32, 32, 4]
    for other in (parts, again, parts.at(flow)):
        same_to_rounding(other.loss, whole.loss, condition=100)
        same_to_rounding(other.log_det, whole.log_det, condition=100)
        np.testing.assert_allclose(chart.gradient(other), chart.gradient(whole), 1e-10, 1e-12)
    grown = [grow(Terms.none(DIM), each, LEAST) for each in (whole, parts)]
    np.testing.assert_array_equal(grown[0].log_scale, grown[1].log_scale)
    np.testing.assert_array_equal(grown[0].pairs, grown[1].pairs)


def test_the_curvature_is_the_identity_where_the_flow_is_the_posterior(within_error):
    # At the posterior the Hessian of the loss is the Fisher information: the covariance of scores.
    rng = np.random.default_rng(0)
    cov = covariance(DIM, rng)
    mean = rng.normal(size=DIM)
    flow = TriangularFlow.around(FullRankNormal(mean, np.linalg.cholesky(cov)))
    terms = _terms(DIM, rng)
    chart = TermsChart(terms.flow(flow), terms)
    noise = rng.standard_normal((4000, DIM))
    step = 1e-4
    blocks = np.array_split(noise, 40)
    hessians = []
    for block in blocks:
        columns = []
        for unit in np.eye(chart.size):
            ends = [
                chart.gradient(evaluate_flow(gaussian(mean, cov), chart.guide(h * unit), block))
                for h in (step, -step)
            ]
            columns.append((ends[0] - ends[1]) / (2.0 * step))
        hessians.append(np.array(columns))
    error = np.std(hessians, axis=0, ddof=1) / np.sqrt(len(hessians))
    # But for the leans, the last ones: at the Gaussian they are shifts once more.
    others = chart.size - int(terms.lean.sum())
    mean_hessian = np.mean(hessians, axis=0)
    within_error(mean_hessian[:others, :others], np.eye(others), error[:others, :others] + 1e-6)
    leans = np.diag(mean_hessian)[others:]
    within_error(leans, np.ones(len(leans)), np.diag(error)[others:] + 1e-6)


@EACH_SEED
def test_a_gaussian_posterior_takes_on_no_terms(seed):
    rng = np.random.default_rng(seed)
    cov = covariance(DIM, rng)
    flow = TriangularFlow.around(FullRankNormal(np.zeros(DIM), np.linalg.cholesky(cov)))
    seen = evaluate_flow(gaussian(np.zeros(DIM), cov), flow, matched_noise(512, DIM, rng))
    assert grow(Terms.none(DIM), seen, LEAST).count == 0


@EACH_SEED
def test_a_funnel_asks_for_scales_that_hang_on_its_neck(seed):
    rng = np.random.default_rng(seed)
    flow = TriangularFlow.around(FullRankNormal(np.zeros(DIM), np.diag([1.0, 1.0, 1.0, 1.0])))
    terms = grow(Terms.none(DIM), evaluate_flow(funnel, flow, matched_noise(512, DIM, rng)), LEAST)
    assert terms.log_scale[1, 1:].all()
    assert not terms.log_scale[2:].any()
    assert not terms.shift[1:].any()


@EACH_SEED
def test_a_banana_asks_for_a_square(seed):
    rng = np.random.default_rng(seed)
    flow = TriangularFlow.around(FullRankNormal(np.zeros(2), np.diag([1.0, 1.2])))
    terms = grow(Terms.none(2), evaluate_flow(banana, flow, matched_noise(512, 2, rng)), LEAST)
    assert terms.pairs.tolist() == [[0, 0]]
    assert terms.bend.tolist() == [[False, True]]


def test_terms_already_there_stay():
    rng = np.random.default_rng(0)
    flow = TriangularFlow.around(FullRankNormal(np.zeros(2), np.diag([1.0, 1.2])))
    seen = evaluate_flow(banana, flow, matched_noise(512, 2, rng))
    terms = grow(Terms.none(2), seen, LEAST)
    again = grow(terms, evaluate_flow(banana, terms.flow(flow), seen.noise), LEAST)
    assert again.pairs.tolist() == terms.pairs.tolist()
    assert (again.bend >= terms.bend).all()
    assert (again.log_scale >= terms.log_scale).all()


def test_marginals_are_freed_after_the_first_terms():
    rng = np.random.default_rng(0)
    flow = TriangularFlow.around(FullRankNormal(np.zeros(2), np.diag([1.0, 1.2])))
    seen = evaluate_flow(banana, flow, matched_noise(512, 2, rng))
    first = grow(Terms.none(2), seen, LEAST)
    assert not first.marginals
    point = np.random.default_rng(1).normal(size=TermsChart(first.flow(flow), first).size)
    moved = TermsChart(first.flow(flow), first).guide(point)
    assert not moved.skew.any()
    assert not moved.tail.any()
    assert grow(first, evaluate_flow(banana, first.flow(flow), seen.noise), LEAST).marginals
    # Where there are no terms to be had, at once.
    alone = TriangularFlow.around(FullRankNormal(np.zeros(1), np.eye(1)))
    seen = evaluate_flow(log_gamma(1.0), alone, matched_noise(512, 1, rng))
    assert grow(Terms.none(1), seen, LEAST).marginals


def test_an_overflow_is_a_loss_of_infinity():
    flow = TriangularFlow.around(FullRankNormal(np.zeros(2), np.eye(2)))
    chart = TermsChart(flow, dataclasses.replace(Terms.none(2), marginals=True))
    seen = evaluate_flow(banana, chart.guide(np.full(chart.size, 1e3)), np.ones((4, 2)))
    assert seen.loss == np.inf
