"""A guide that is a formula: a Gaussian in a box, whose sampler nobody wrote.

The formula exp(-(x/s1)^2/2 - (y/s2)^2/2) on the box |x|, |y| < 10 is no density: its normaliser
depends on s1 and s2. Written as `numpyro.factor` beside uniform draws, it makes the loss
fall without bound. As an energy its normaliser is computed. The exact answer is s1 = 1, s2 = 2.

Run it with `python factor_in_a_box.py picture.png`.
"""

import sys

import matplotlib.pyplot as plt
import numpy as np
from numpyro.distributions import constraints

import taut

EXACT = {"s1": 1.0, "s2": 2.0}


def log_p(x, y):
    return -0.5 * (x**2 + (y / 2.0) ** 2)


def log_q(x, y, s1, s2):
    return -0.5 * ((x / s1) ** 2 + (y / s2) ** 2)


def fit():
    box = constraints.interval(-10.0, 10.0)
    start = {"s1": (2.0, constraints.positive), "s2": (2.0, constraints.positive)}
    return taut.guides.energy(log_q, start, {"x": box, "y": box}).fit(log_p)


def picture(found, path):
    draws = found.sample(20000)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for ax, (name, scale) in zip(axes, (("x", 1.0), ("y", 2.0)), strict=True):
        grid = np.linspace(-4 * scale, 4 * scale, 300)
        density = np.exp(-0.5 * (grid / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
        ax.hist(draws[name], bins=50, density=True, alpha=0.5, label="fitted")
        ax.plot(grid, density, "k", label="exact")
        ax.set(xlabel=name, yticks=[])
    axes[0].legend()
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    found = fit()
    for name, exact in EXACT.items():
        print(f"{name}: fitted {found.params[name]:.4f}, exact {exact:.4f}")
    print(f"log evidence: fitted {found.elbo:.4f}, exact {np.log(4 * np.pi):.4f}")
    picture(found, sys.argv[1] if len(sys.argv) > 1 else "factor_in_a_box.png")
