"""Optimisers of Optax: told apart by what they compute, and as good as NumPyro's own."""

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.infer
import pytest
from extras import needs

import taut.infer
from taut.infer.structure_key import structure_key


def model():
    x = numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.sample("y", dist.Normal(x, 1.0), obs=1.0)


def guide():
    numpyro.sample("x", dist.Normal(numpyro.param("loc", 0.3), 0.5))


def _decaying(optax, rate=0.5):
    # Without a value to end at, it closes over a name that has none.
    return optax.sgd(optax.exponential_decay(0.1, 2, rate))


def _noisy(optax, seed=0):
    return optax.noisy_sgd(1e-2, key=jax.random.key(seed))


OPTIMISERS = {
    "decaying": (_decaying, lambda optax: _decaying(optax, 0.4)),
    "noisy": (_noisy, lambda optax: _noisy(optax, 1)),
}


@pytest.fixture
def optax():
    needs("optax")
    import optax

    return optax


@pytest.mark.parametrize("name", OPTIMISERS)
def test_the_losses_are_numpyros_and_one_made_anew_compiles_nothing(
    name, optax, same_to_rounding, compilations
):
    make, make_other = OPTIMISERS[name]

    def losses(inference, optimiser):
        svi = inference.SVI(model, guide, optimiser, inference.Trace_ELBO())
        return svi.run(jax.random.key(0), 6, progress_bar=False).losses

    first = losses(taut.infer, make(optax))
    same_to_rounding(first, losses(numpyro.infer, make(optax)), np.float32)
    with compilations() as compiled:
        losses(taut.infer, make(optax))
    assert compiled == [0]
    assert structure_key(make(optax)) != structure_key(make_other(optax))
    assert not np.array_equal(first, losses(taut.infer, make_other(optax)))
