"""Batched log densities with gradients, of distributions that are known exactly."""

import numpy as np


def gaussian(mean, covariance):
    """The normalised Gaussian: its evidence is one."""
    precision = np.linalg.inv(covariance)
    constant = -0.5 * np.linalg.slogdet(2.0 * np.pi * covariance)[1]

    def batch(z):
        gradients = -(z - mean) @ precision
        return constant + 0.5 * ((z - mean) * gradients).sum(axis=1), gradients

    return batch


def mixture(means, shares):
    """A mixture of Gaussians of unit covariance."""
    parts = [gaussian(mean, np.eye(len(mean))) for mean in means]

    def batch(z):
        values, gradients = zip(*(part(z) for part in parts), strict=True)
        joint = np.array(values) + np.log(shares)[:, None]
        total = np.logaddexp.reduce(joint, axis=0)
        weights = np.exp(joint - total)
        return total, (weights[:, :, None] * np.array(gradients)).sum(axis=0)

    return batch


def log_gamma(shape):
    """Independent log-gamma variables, unnormalised: shape * z - exp(z) in each coordinate.

    The best Gaussian has variance 1 / shape and mean log(shape) - 1 / (2 shape).
    """

    def batch(z):
        with np.errstate(over="ignore"):
            powers = np.exp(z)
        return (shape * z - powers).sum(axis=1), shape - powers

    return batch


def positive(batch, coordinate=0):
    """Another density, cut off where a coordinate is negative."""

    def cut(z):
        values, gradients = batch(z)
        outside = z[:, coordinate] < 0
        return np.where(outside, -np.inf, values), np.where(outside[:, None], 0.0, gradients)

    return cut


def covariance(dim, rng):
    """A covariance of correlated coordinates with spreads between 0.3 and 2."""
    root = 0.4 * rng.normal(size=(dim, dim)) / np.sqrt(dim) + np.eye(dim)
    root *= rng.uniform(0.3, 2.0, dim)[:, None]
    return root @ root.T
