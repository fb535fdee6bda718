"""Small networks with priors on their weights, in the libraries that NumPyro takes them from."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.contrib.module import random_eqx_module, random_flax_module, random_nnx_module

X = np.linspace(-1.0, 1.0, 12, dtype=np.float32)[:, None]
Y = np.sin(2.0 * X[:, 0])
UNITS = 3

LIBRARIES = {"flax": "flax", "nnx": "flax", "eqx": "equinox"}
"""What must be installed for a network of each kind."""


@cache
def flax_network():
    from flax import linen

    return linen.Sequential([linen.Dense(UNITS), linen.tanh, linen.Dense(1)])


@cache
def nnx_network():
    from flax import nnx

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(1, UNITS, rngs=rngs)
            self.last = nnx.Linear(UNITS, 1, rngs=rngs)

        def __call__(self, x):
            return self.last(jnp.tanh(self.first(x)))

    return Network(nnx.Rngs(0))


@cache
def eqx_network():
    import equinox

    return equinox.nn.MLP(1, 1, UNITS, 1, activation=jnp.tanh, key=jax.random.key(0))


NETWORKS = {"flax": flax_network, "nnx": nnx_network, "eqx": eqx_network}

DECLARE = {
    "flax": partial(random_flax_module, input_shape=(1,)),
    "nnx": random_nnx_module,
    "eqx": lambda *declared: jax.vmap(random_eqx_module(*declared)),
}
"""How a model declares a network of each kind: by name, network and priors."""


@cache
def bayesian_network(kind, prior=None):
    """Return a model with a network, all of whose weights have a prior unless `prior` is given.

    Args:
        kind: "flax", "nnx" or "eqx".
        prior: the name of the only weight that has a prior.
    """
    priors = dist.Normal(0.0, 1.0) if prior is None else {prior: dist.Normal(0.0, 1.0)}
    network = NETWORKS[kind]()  # not in the model, where its weights would be traced

    def model(x, y=None):
        net = DECLARE[kind]("net", network, priors)
        with numpyro.plate("rows", len(x)):
            numpyro.sample("y", dist.Normal(net(x)[..., 0], 0.3), obs=y)

    return model
