"""An angle with a support: how far a circular orbit is tilted.

The inclination i lies between 0 and pi / 2, random orientations have the density sin(i), and an
orbital speed of 10 km/s shows as 10 sin(i) along the line of sight. Measured 9.5 +- 0.5 km/s, the
posterior runs up against the edge-on end, where a Normal guide would put a third of its mass
outside; `taut.check` refuses one and says so. A truncated Normal keeps to the support. The exact
answer is a sum over a grid.

Run it with `python inclination.py picture.png`.
"""

import sys

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

import taut

EDGE_ON = np.pi / 2
SPEED, MEASURED, ERROR = 10.0, 9.5, 0.5


def model(velocity):
    i = numpyro.sample("i", dist.Uniform(0.0, EDGE_ON))
    numpyro.factor("isotropic", jnp.log(jnp.sin(i) * EDGE_ON))
    numpyro.sample("velocity", dist.Normal(SPEED * jnp.sin(i), ERROR), obs=velocity)


def guide(velocity):
    loc = numpyro.param("loc", 1.0)
    scale = numpyro.param("scale", 0.5, constraint=constraints.positive)
    numpyro.sample("i", dist.TruncatedNormal(loc, scale, low=0.0, high=EDGE_ON))


def exact(points=200_001):
    """Angles, their exact density, and the log evidence, by the midpoint rule."""
    edges = np.linspace(0.0, EDGE_ON, points)
    i, width = 0.5 * (edges[1:] + edges[:-1]), edges[1] - edges[0]
    misfit = (MEASURED - SPEED * np.sin(i)) / ERROR
    density = np.sin(i) * np.exp(-0.5 * misfit**2) / (ERROR * np.sqrt(2.0 * np.pi))
    evidence = density.sum() * width
    return i, density / evidence, float(np.log(evidence))


def exact_moments():
    i, density, _ = exact()
    weights = density / density.sum()
    mean = weights @ i
    return float(mean), float(np.sqrt(weights @ (i - mean) ** 2))


def fit(seed=0):
    return taut.fit(model, MEASURED, guide=guide, seed=seed, progress=False)


def picture(found, path):
    i, density, _ = exact(2001)
    figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
    bins = np.linspace(40.0, 90.0, 51)
    for corrected, label in ((False, "the guide"), (True, "returned draws")):
        draws = np.degrees(found.sample(20_000, corrected=corrected)["i"])
        style = {"alpha": 0.4} if corrected else {"histtype": "step", "linewidth": 1.5}
        ax.hist(draws, bins=bins, density=True, label=label, **style)
    ax.plot(np.degrees(i), np.radians(density), "k", label="exact")
    ax.set(xlabel="inclination [degrees]", yticks=[], xlim=(40.0, 90.0))
    ax.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    found = fit()
    print(found)
    mean, sd = exact_moments()
    print(f"mean: fitted {found.mean('i'):.4f}, exact {mean:.4f}")
    print(f"sd: fitted {found.sd('i'):.4f}, exact {sd:.4f}")
    print(f"log evidence: fitted {found.log_evidence[0]:.4f}, exact {exact()[2]:.4f}")
    picture(found, sys.argv[1] if len(sys.argv) > 1 else "inclination.png")
