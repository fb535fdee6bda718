"""Guides given by a formula: both examples reach their exact answer, mistakes are named."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from example_guides import example
from numpyro.distributions import constraints
from seeds import EACH_SEED

import taut


def test_the_gaussian_in_a_box_has_its_scales(tmp_path):
    script = example("factor_in_a_box")
    found = script.fit()
    assert found.method == "quadrature"
    # Nothing is drawn, so what is left is the optimiser's tolerance.
    assert found.params == pytest.approx(script.EXACT, abs=1e-5)
    # The box cuts off the tails of y beyond five scales.
    assert found.elbo == pytest.approx(math.log(4 * math.pi), abs=1e-5)
    script.picture(found, tmp_path / "box.png")
    assert (tmp_path / "box.png").stat().st_size > 1000


@EACH_SEED
def test_the_two_ridges_are_found_from_every_seed(seed):
    # On any points the target's own parameters are the exact minimum, so nothing of the noise is
    # left in them.
    found = example("two_ridges").fit(seed)
    assert found.params == pytest.approx({"b": 2.0, "angle": 0.5}, abs=1e-3)
    weights = found.solution.weights
    error = np.sqrt(np.sum(weights**2))  # of log Z, by importance sampling
    assert abs(found.elbo - example("two_ridges").LOG_EVIDENCE) < 5 * error


def test_the_two_ridges_have_their_picture(tmp_path):
    script = example("two_ridges")
    script.picture(script.fit(), tmp_path / "ridges.png")
    assert (tmp_path / "ridges.png").stat().st_size > 1000


@EACH_SEED
def test_draws_of_a_formula_are_spread_as_it_says(seed):
    draws = example("factor_in_a_box").fit().sample(4000, seed)
    for name, scale in (("x", 1.0), ("y", 2.0)):
        # Nodes of a quadrature would be 160 values at most.
        assert len(np.unique(draws[name])) > 0.9 * 4000
        assert scipy.stats.kstest(draws[name], scipy.stats.norm(0, scale).cdf).pvalue > 1e-4


def line(x, a):
    return -0.5 * (x - a) ** 2


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: taut.guides.energy(line, {"x": 0.0}, ["x"]), "'x' is both a site and a parameter"),
        (lambda: taut.guides.energy(line, {"b": 0.0}, ["x"]), "cannot be called with these names"),
        (lambda: taut.guides.energy(line, {}, ["x"]), "at least one site and one parameter"),
        (
            lambda: taut.guides.energy(line, {"a": (-1.0, constraints.positive)}, ["x"]),
            "parameter 'a' starts at -1.0, outside its constraint",
        ),
        (
            lambda: taut.guides.energy(line, {"a": 0.0}, {"x": constraints.positive}),
            "all real, or all bounded intervals",
        ),
        (
            lambda: taut.guides.energy(line, {"a": 0.0}, ["x"]).fit(lambda x: jnp.nan * x),
            "the formula or the target is not finite",
        ),
        (
            lambda: taut.guides.energy(
                lambda x, a: -0.5 * ((x - a) / 1e-4) ** 2,
                {"a": 0.0},
                {"x": constraints.interval(-1.0, 1.0)},
            ).fit(lambda x: -0.5 * (x / 1e-4) ** 2),
            "differs between 80 and 160 quadrature nodes",
        ),
    ],
)
def test_a_mistake_is_named(call, sentence):
    with pytest.raises(taut.InputError) as caught:
        call()
    assert sentence in str(caught.value)
