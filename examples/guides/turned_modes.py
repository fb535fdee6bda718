"""Two modes along a turned axis: a guide of five lines, from pieces.

The guide draws u1 from two bumps and u2 from a Normal, and turns them. `transformed` counts the
Jacobian (that of a turn is 1), and `taut.fit` chooses the step sizes. The posterior is of the same
family, so the fit is exact: b = 2, angle = 0.5, weight 0.7.

Run it with `python turned_modes.py picture.png`.
"""

import sys

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.distributions import constraints

import taut

EXACT = {"b": 2.0, "angle": 0.5, "weight": 0.7}
WIDTHS = 0.5, 1.5


def turned(b, angle, weight):
    bumps = [dist.Normal(b, WIDTHS[0]), dist.Normal(-b, WIDTHS[0])]
    u1 = taut.guides.mixture(jnp.stack([weight, 1.0 - weight]), bumps)
    u = taut.guides.independent(u1=u1, u2=dist.Normal(0.0, WIDTHS[1]))
    c, s = jnp.cos(angle), jnp.sin(angle)
    return taut.guides.transformed(u, lambda u1, u2: {"x": c * u1 - s * u2, "y": s * u1 + c * u2})


def guide():
    weight = numpyro.param("weight", 0.5, constraint=constraints.unit_interval)
    turned(numpyro.param("b", 1.0), numpyro.param("angle", 0.2), weight)()


def log_p(x, y):
    c, s = np.cos(EXACT["angle"]), np.sin(EXACT["angle"])
    u1, u2 = c * x + s * y, -s * x + c * y
    near, far = (dist.Normal(b, WIDTHS[0]).log_prob(u1) for b in (EXACT["b"], -EXACT["b"]))
    bumps = jnp.logaddexp(np.log(EXACT["weight"]) + near, np.log(1.0 - EXACT["weight"]) + far)
    return bumps + dist.Normal(0.0, WIDTHS[1]).log_prob(u2)


def model():
    anywhere = dist.ImproperUniform(constraints.real, (), ())
    x, y = numpyro.sample("x", anywhere), numpyro.sample("y", anywhere)
    numpyro.factor("p", log_p(x, y))


def fit(seed=0):
    return taut.fit(model, guide=guide, seed=seed, progress=False)


def picture(found, path):
    axis = np.linspace(-5.0, 5.0, 201)
    x, y = np.meshgrid(axis, axis)
    density = np.exp(np.asarray(log_p(x, y)))
    draws = found.sample(3000)
    figure, axes = plt.subplots(1, 2, figsize=(8, 4.4), layout="constrained")
    axes[0].plot(draws["x"], draws["y"], ".", markersize=2, alpha=0.5)
    axes[1].contourf(axis, axis, density, levels=20)
    for ax, title in zip(axes, ("draws of the fit", "exact density"), strict=True):
        ax.set(title=title, xlabel="x", ylabel="y", aspect="equal", xlim=(-5, 5), ylim=(-5, 5))
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    found = fit()
    print(found)
    for name, exact in EXACT.items():
        print(f"{name}: fitted {float(found.guide.params[name]):.4f}, exact {exact:.4f}")
    print(f"log evidence: fitted {found.log_evidence[0]:.4f}, exact 0")
    picture(found, sys.argv[1] if len(sys.argv) > 1 else "turned_modes.png")
