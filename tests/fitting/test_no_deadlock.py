"""Batched linear algebra of several sites at once does not hang on few cores."""

MODEL = """
import jax.numpy as jnp, numpy as np, numpyro, numpyro.distributions as dist, taut

x = np.linspace(0.0, 1.0, 100)

def model(x, y=None):
    widths = numpyro.sample("widths", dist.LogNormal(jnp.zeros(2), 0.5))
    for i in range(2):
        distance = (x[:, None] - x) / widths[i]
        covariance = jnp.exp(-0.5 * distance**2) + 0.1 * jnp.eye(len(x))
        normal = dist.MultivariateNormal(covariance_matrix=covariance)
        numpyro.sample(f"y{i}", normal, obs=y[i])

y = np.random.default_rng(0).normal(size=(2, 100))
fit = taut.fit(model, x, y=y, budget=3.0, progress=False)
print(fit.gradients > 0)
"""


def test_two_sites_with_large_covariances_are_fitted_in_time(run_python):
    # Within its budget and some seconds of compiling; a process that hangs is ended as a failure.
    assert run_python(MODEL, seconds=100.0).strip() == "True"
