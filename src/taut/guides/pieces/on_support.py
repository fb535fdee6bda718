"""A real distribution carried onto a constrained support."""

from typing import Any

from numpyro.distributions import TransformedDistribution, biject_to
from numpyro.distributions.distribution import Distribution

from taut._core.errors import InputError


def on_support(distribution: Distribution, constraint: Any) -> TransformedDistribution:
    """A distribution on R^n carried onto another support by a smooth one-to-one map.

    The density of x = T(u) is q(u) / |dT/du|, with the bijection T that NumPyro assigns to the
    constraint: exp for positive numbers, a scaled logistic for intervals.

    Args:
        distribution: any distribution on the reals, such as `dist.Normal(loc, scale)`.
        constraint: a support, such as `dist.constraints.interval(0, 1)`.

    Returns:
        A NumPyro distribution with that support, exact density, and draws that gradients pass.

    Raises:
        InputError: the distribution is not on the reals, or no map reaches the support.
    """
    base = getattr(distribution.support, "base_constraint", distribution.support)
    if type(base).__name__ not in ("_Real", "_RealVector", "_RealMatrix"):
        raise InputError(
            f"on_support carries a distribution on the reals; {type(distribution).__name__} has "
            f"support {type(base).__name__.lstrip('_').lower()}. Give it a Normal or a StudentT"
        )
    try:
        bijection = biject_to(constraint)
    except NotImplementedError:
        raise InputError(
            f"no smooth one-to-one map from R^n reaches {type(constraint).__name__.lstrip('_')}; "
            "for a direction, normalise a Normal vector"
        ) from None
    return TransformedDistribution(distribution, bijection)
