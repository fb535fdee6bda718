"""A guide with two modes and heavy tails, written as a formula.

q(x, y) = [exp(-(u1 - b)^2) + exp(-(u1 + b)^2)] / (1 + u2^2), with u1 = x cos(a) - y sin(a) and
u2 = x cos(a) + y sin(a). This map is no rotation: its determinant, 2 sin(a) cos(a), depends on the
angle, and so does the normaliser, 2 pi^1.5 / |2 sin(a) cos(a)|. The energy finds it by itself. The
exact answer is b = 2, angle = 0.5.

Run it with `python two_ridges.py picture.png`.
"""

import sys

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import taut

EXACT = {"b": 2.0, "angle": 0.5}
LOG_EVIDENCE = float(np.log(2 * np.pi**1.5 / abs(2 * np.sin(0.5) * np.cos(0.5))))


def log_q(x, y, b, angle):
    u1 = x * jnp.cos(angle) - y * jnp.sin(angle)
    u2 = x * jnp.cos(angle) + y * jnp.sin(angle)
    return jnp.logaddexp(-((u1 - b) ** 2), -((u1 + b) ** 2)) - jnp.log1p(u2**2)


def log_p(x, y):
    return log_q(x, y, **EXACT)


def fit(seed=0):
    return taut.guides.energy(log_q, {"b": 1.0, "angle": 0.3}, ["x", "y"]).fit(log_p, seed=seed)


def picture(found, path):
    axis = np.linspace(-8, 8, 161)
    x, y = (v.ravel() for v in np.meshgrid(axis, axis))
    fitted = np.exp(found.log_prob({"x": x, "y": y}))
    exact = np.exp(np.asarray(log_p(x, y)) - LOG_EVIDENCE)
    figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    for ax, density, title in zip(axes, (fitted, exact), ("fitted", "exact"), strict=True):
        ax.contourf(axis, axis, density.reshape(161, 161), levels=20)
        ax.set(title=title, xlabel="x", ylabel="y", aspect="equal")
    figure.savefig(path)
    plt.close(figure)


if __name__ == "__main__":
    found = fit()
    for name, exact in EXACT.items():
        print(f"{name}: fitted {found.params[name]:.4f}, exact {exact:.4f}")
    print(f"log evidence: fitted {found.elbo:.4f}, exact {LOG_EVIDENCE:.4f}")
    picture(found, sys.argv[1] if len(sys.argv) > 1 else "two_ridges.png")
