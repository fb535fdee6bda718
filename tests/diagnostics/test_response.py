"""The sds by linear response as a check of mean-field guides."""

import numpy as np
from batches import covariance, gaussian
from seeds import EACH_SEED

from taut.diagnostics.response import NARROW, response_finding, response_ratios
from taut.guides.full_rank import FullRankNormal
from taut.guides.mean_field import MeanFieldNormal
from taut.objectives.linear_response import curvature_cost

NAMES = ("a", "b", "c", "d")


@EACH_SEED
def test_the_ratios_for_a_gaussian_are_those_of_marginal_to_conditional_sds(seed, same_to_rounding):
    rng = np.random.default_rng(seed)
    cov = covariance(4, rng)
    conditional = 1.0 / np.sqrt(np.diagonal(np.linalg.inv(cov)))
    guide = MeanFieldNormal(np.zeros(4), conditional)
    found = response_ratios(gaussian(np.zeros(4), cov), guide, 0.0, np.inf, rng)
    expected = np.sqrt(np.diagonal(cov)) / conditional
    same_to_rounding(found, expected, condition=1e3)


def test_other_guides_and_dear_curvatures_have_none():
    rng = np.random.default_rng(0)
    batch = gaussian(np.zeros(4), np.eye(4))
    full, narrow = FullRankNormal(np.zeros(4), np.eye(4)), MeanFieldNormal(np.zeros(4), np.ones(4))
    assert response_ratios(batch, full, 0.0, np.inf, rng) is None
    assert response_ratios(batch, narrow, 0.0, curvature_cost(4) - 1, rng) is None
    assert response_ratios(batch, narrow, 0.0, curvature_cost(4), rng) is not None


def test_sds_that_are_too_small_are_named_and_counted():
    finding = response_finding(np.array([1.0, 2.5, 1.1, 1.3]), NAMES, corrected=True)
    assert (finding.level, finding.value, finding.threshold) == ("doubt", 2.5, NARROW)
    assert "sd of b is 2.50 times" in finding.message
    assert "2 of 4 are more than 1.2 times (b, d)" in finding.message
    assert "corrected" in finding.message
    assert finding.advice
    assert "Giordano" in finding.reference
    assert "corrected" not in response_finding(np.full(4, 2.0), NAMES, corrected=False).message


def test_small_changes_are_good_and_a_saddle_is_said():
    assert response_finding(np.full(4, 1.15), NAMES, corrected=True).level == "good"
    unknown = response_finding(np.full(4, np.nan), NAMES, corrected=True)
    assert unknown.level == "note"
    assert "not positive definite" in unknown.message
