"""NumPyro's NeuTra takes a fitted guide as the coordinates that NUTS walks in."""

import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax import random
from numpyro import optim
from numpyro.infer.reparam import NeuTraReparam

from taut.infer import MCMC, NUTS, SVI, Trace_ELBO, autoguide

Y = np.array([0.5, 1.5, 1.0, 2.0])


def model(y):
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    numpyro.deterministic("twice", 2.0 * scale)
    with numpyro.plate("pair", 2):
        mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(mu.sum(), scale).expand([4]).to_event(1), obs=y)


@pytest.mark.parametrize(
    "kind", ["AutoMultivariateNormal", pytest.param("AutoIAFNormal", marks=pytest.mark.slow)]
)
def test_nuts_walks_in_the_coordinates_of_a_guide(kind):
    guide = getattr(autoguide, kind)(model)
    svi = SVI(model, guide, optim.Adam(0.01), Trace_ELBO())
    params = svi.run(random.key(0), 500, Y, progress_bar=False).params
    neutra = NeuTraReparam(guide, params)
    means = []
    for program in (neutra.reparam(model), model):
        mcmc = MCMC(NUTS(program), num_warmup=200, num_samples=1_000, progress_bar=False)
        mcmc.run(random.key(1), Y)
        means.append(mcmc.get_samples())
    draws = neutra.transform_sample(means[0]["auto_shared_latent"])
    assert draws["mu"].shape == (1_000, 2)
    for name in ("scale", "mu"):
        ours, plain = np.asarray(draws[name]), np.asarray(means[1][name])
        # Two runs of NUTS, each worth at least a tenth of its draws.
        error = np.sqrt((ours.var(axis=0) + plain.var(axis=0)) / 100)
        assert np.all(np.abs(ours.mean(axis=0) - plain.mean(axis=0)) < 5 * error)
