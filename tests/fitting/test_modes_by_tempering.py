"""Where every one of two hundred frequencies is a solution, `modes=True` finds the right one or
says that it may not have."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from seeds import EACH_SEED

import taut

FREQUENCY = 73.0


def wave(t, y=None):
    frequency = numpyro.sample("frequency", dist.Uniform(0.0, 200.0))
    a, b = (numpyro.sample(name, dist.Normal(0.0, 2.0)) for name in "ab")
    noise = numpyro.sample("noise", dist.HalfNormal(1.0))
    turn = 2.0 * jnp.pi * frequency * t
    numpyro.sample("y", dist.Normal(a * jnp.sin(turn) + b * jnp.cos(turn), noise), obs=y)


@EACH_SEED
def test_a_frequency_is_found_or_the_fit_is_not_trusted(seed):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0.0, 1.0, 150))
    turn = 2.0 * np.pi * FREQUENCY * t
    y = np.sin(turn) + 0.5 * np.cos(turn) + 0.5 * rng.normal(size=t.size)
    fit = taut.fit(wave, t, y=y, modes=True, seed=seed, budget=20, progress=False)
    found = fit.sample(2000)["frequency"]
    # The sd of a frequency: sqrt(6 / n) noise / (pi amplitude length) (Bretthorst 1988), here 0.03.
    assert abs(found.mean() - FREQUENCY) < 5.0 * 0.03 or fit.trust == "not trusted"
