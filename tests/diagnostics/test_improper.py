"""Densities without an integral, and draws that are none."""

import numpy as np
import numpyro
import numpyro.distributions as dist
from batches import gaussian
from numpyro.distributions import constraints
from seeds import EACH_SEED

import taut
from taut.diagnostics.improper import FAR, endless, no_draws


def _cauchy(z):
    return -np.log1p(z * z).sum(axis=1), -2.0 * z / (1.0 + z * z)


def _level_beyond(height, z):
    """A normal density that levels off at `height` nats below its top in the second coordinate."""
    values = -0.5 * z * z
    values[:, 1] = np.maximum(values[:, 1], height)
    return values.sum(axis=1), np.zeros_like(z)


def _endless(batch, seed, dim=2):
    z = np.random.default_rng(seed).standard_normal((4096, dim))
    return endless(batch, z, batch(z)[0])


@EACH_SEED
def test_what_falls_off_has_an_end(seed):
    assert _endless(gaussian(np.zeros(2), np.eye(2)), seed) == ()
    # log(1 + 1000^2) = 13.8 nats.
    assert _endless(_cauchy, seed) == ()


@EACH_SEED
def test_what_levels_off_counts_where_as_much_mass_may_be_out_there(seed):
    # Around its middle a normal density has the mass of a plateau of its height and sqrt(2 pi) sds.
    limit = -np.log(FAR / np.sqrt(2.0 * np.pi))
    for height, found in ((limit + 0.1, (1,)), (limit - 0.1, ())):
        assert _endless(lambda z, height=height: _level_beyond(height, z.copy()), seed) == found


def test_steps_that_overflow_are_not_made():
    z = np.array([[0.0, 1e306], [1.0, -1e306], [0.5, 0.0]])
    assert endless(lambda z: (np.zeros(len(z)), np.zeros_like(z)), z, np.zeros(3)) == (0,)


def test_draws_are_looked_at():
    z = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])
    values = np.array([[0.0, np.inf, 3.0], [1.0, 2.0, 3.0], [2.0, 3.0, 3.0]])
    found = no_draws(["a", "b", "c"], values, ["a", "c"], z)
    assert found.level == "bad"
    assert "those of b are not finite and those of c are all the same" in found.message
    # An entry of a Cholesky factor is the same in all draws, and no latent coordinate is.
    assert no_draws(["a", "c"], values[:, [0, 2]], ["a"], z[:, :1]) is None


def separated(x, y):
    slope = numpyro.sample("slope", dist.ImproperUniform(constraints.real, (), ()))
    numpyro.sample("y", dist.BernoulliLogits(slope * x), obs=y)


X = np.array([-2.0, -1.0, -0.5, 0.5, 1.0, 2.0])


@EACH_SEED
def test_a_posterior_without_an_integral_is_not_trusted(seed):
    fit = taut.fit(separated, X, (X > 0).astype(int), seed=seed, progress=False)
    assert fit.trust == "not trusted"
