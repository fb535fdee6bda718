"""Joint distributions of named values, to write guides with."""

import abc
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.distributions.distribution import Distribution

from taut._core.errors import InputError, first_few


class Joint(abc.ABC):
    """A normalised distribution of named values.

    Called inside a guide, it states its sites and returns their values.
    """

    @abc.abstractmethod
    def draw(self, key: Any) -> tuple[dict[str, Any], Any]:
        """Return one draw and its log density, a scalar."""

    @abc.abstractmethod
    def log_prob(self, values: Mapping[str, Any]) -> Any:
        """Return the log density at given values, a scalar."""

    @abc.abstractmethod
    def state(self, auxiliary: bool = False) -> dict[str, Any]:
        """State the sites in the guide that is running and return their values."""

    def __call__(self) -> dict[str, Any]:
        """State the sites in the guide that is running and return their values."""
        return self.state()

    def sample(self, key: Any, draws: int) -> tuple[dict[str, Any], Any]:
        """Return draws (draws, ...) by name, and their log densities (draws,)."""
        return jax.vmap(self.draw)(jax.random.split(key, draws))


class Independent(Joint):
    """Named values that are drawn independently of each other."""

    def __init__(self, distributions: Mapping[str, Distribution]):
        self.distributions = dict(distributions)

    def draw(self, key: Any) -> tuple[dict[str, Any], Any]:
        """One draw and its log density."""
        keys = jax.random.split(key, len(self.distributions))
        values, total = {}, jnp.zeros(())
        for (name, distribution), k in zip(self.distributions.items(), keys, strict=True):
            value, intermediates = distribution.sample_with_intermediates(k)
            density = (
                distribution.log_prob(value, intermediates)
                if intermediates
                else distribution.log_prob(value)
            )
            values[name], total = value, total + jnp.sum(density)
        return values, total

    def log_prob(self, values: Mapping[str, Any]) -> Any:
        """Log density at given values; a scalar."""
        _check_names(values, self.distributions)
        parts = (jnp.sum(d.log_prob(values[n])) for n, d in self.distributions.items())
        return sum(parts, jnp.zeros(()))

    def state(self, auxiliary: bool = False) -> dict[str, Any]:
        """State one site for each name."""
        infer = {"is_auxiliary": True} if auxiliary else {}
        values = {}
        for name, distribution in self.distributions.items():
            value = numpyro.sample(name, distribution, infer=infer)
            if auxiliary and np.shape(value) != distribution.shape():
                raise InputError(
                    f"{name!r} is drawn inside a plate, where a map of named values cannot tell "
                    "rows apart; write numpyro.sample(name, taut.guides.transformed(distribution, "
                    "fn)) there"
                )
            values[name] = value
        return values


class Conditional(Joint):
    """Named values, and more that are drawn given them."""

    def __init__(self, base: Joint, fn: Callable[..., Any]):
        self.base, self.fn = base, fn

    def draw(self, key: Any) -> tuple[dict[str, Any], Any]:
        """One draw and its log density."""
        first, second = jax.random.split(key)
        given, log_given = self.base.draw(first)
        values, log_values = self._rest(given).draw(second)
        return {**given, **values}, log_given + log_values

    def log_prob(self, values: Mapping[str, Any]) -> Any:
        """Log density at given values; a scalar."""
        names = jax.eval_shape(lambda key: self.base.draw(key)[0], jax.random.key(0))
        given = {n: v for n, v in values.items() if n in names}
        rest = {n: v for n, v in values.items() if n not in names}
        return self.base.log_prob(given) + self._rest(given).log_prob(rest)

    def state(self, auxiliary: bool = False) -> dict[str, Any]:
        """State the sites of the base, then those given them."""
        given = self.base.state(auxiliary)
        return {**given, **self._rest(given).state(auxiliary)}

    def _rest(self, given: Mapping[str, Any]) -> Joint:
        return as_joint(self.fn(**given))


def independent(**distributions: Any) -> Joint:
    """Named values drawn independently: q(a) q(b) ...

    Args:
        **distributions: a NumPyro distribution for each name.

    Raises:
        InputError: something given is not a distribution.
    """
    return as_joint(distributions)


def conditional(base: Any, fn: Callable[..., Any]) -> Joint:
    """Named values and more given them: q(a) q(b | a).

    Args:
        base: the first values: a piece, or a dict of distributions.
        fn: takes the values of `base` as keywords and returns a dict of distributions, or a piece,
            for the others.

    Raises:
        InputError: `base` or what `fn` returns is neither.
    """
    return Conditional(as_joint(base), fn)


def as_joint(piece: Any) -> Joint:
    """Return a piece as it is, and a dict of distributions as independent values."""
    if isinstance(piece, Joint):
        return piece
    if not isinstance(piece, Mapping) or not piece:
        raise InputError(
            "named values are a piece or a dict of distributions, such as "
            f'{{"u": dist.Normal(0, 1)}}; got {type(piece).__name__}'
        )
    wrong = [repr(n) for n, d in piece.items() if not isinstance(d, Distribution)]
    if wrong:
        raise InputError(f"not a NumPyro distribution: {first_few(wrong)}")
    return Independent(piece)


def _check_names(values: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    if set(values) != set(wanted):
        raise InputError(
            f"a density of {first_few(sorted(wanted))} was asked for at values of "
            f"{first_few(sorted(values))}"
        )
