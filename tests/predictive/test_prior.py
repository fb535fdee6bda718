"""Prior predictive draws."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest

import taut
from taut._core.errors import InputError


@pytest.mark.parametrize("seed", range(3))
def test_all_sites_are_drawn_from_the_prior(regression, within_error, seed):
    made = taut.prior(regression.model, regression.x, y=regression.y, seed=seed)
    assert list(made) == ["a", "b", "line", "y"]
    design = np.column_stack([np.ones(12), regression.x])
    variance = 2.0**2 * np.sum(design**2, axis=1) + 0.5**2
    within_error(made["y"].mean(axis=0), 0.0, np.sqrt(variance / 4000))
    within_error(made["y"].var(axis=0), variance, variance * np.sqrt(2 / 4000))


def test_data_left_out_are_drawn_too(regression):
    with_data = taut.prior(regression.model, regression.x, y=regression.y, draws=50)
    without = taut.prior(regression.model, regression.x, draws=50)
    np.testing.assert_array_equal(with_data["y"], without["y"])


def test_a_target_is_taken_alone(regression):
    target = taut.target(regression.model, regression.x, y=regression.y)
    made = taut.prior(target, draws=50)
    direct = taut.prior(regression.model, regression.x, y=regression.y, draws=50)
    np.testing.assert_array_equal(made["y"], direct["y"])
    with pytest.raises(InputError, match="pass it alone"):
        taut.prior(target, regression.x)


def test_an_improper_prior_is_told():
    def model(y=None):
        numpyro.sample("location", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.sample("y", dist.Normal(0.0, 1.0), obs=y)

    with pytest.raises(InputError, match="prior of 'location' is improper"):
        taut.prior(model)


def test_counting_groups_is_found_once(compilations):
    def model(group):
        with numpyro.plate("group", len(np.unique(group))):
            numpyro.sample("theta", dist.Normal(0.0, 1.0))

    assert taut.prior(model, np.array([0, 1, 1]), draws=10)["theta"].shape == (10, 2)
    assert taut.prior(model, np.array([0, 1, 2]), draws=10)["theta"].shape == (10, 3)


def test_a_changed_global_is_seen():
    scale = [1.0]

    def model():
        numpyro.sample("x", dist.Normal(0.0, scale[0]))

    small = taut.prior(model, draws=20)["x"]
    scale[0] = 10.0
    np.testing.assert_allclose(taut.prior(model, draws=20)["x"], 10 * small, rtol=1e-6)


def test_an_error_of_the_model_is_told_with_its_place():
    def model(x):
        numpyro.sample("y", dist.Normal(x @ x.T @ np.ones(7), 1.0))

    with pytest.raises(InputError, match=r"raised .* at test_prior\.py:\d+"):
        taut.prior(model, np.ones((3, 2)))
