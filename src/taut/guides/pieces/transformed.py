"""A change of variables with its Jacobian by automatic differentiation."""

from collections.abc import Callable, Mapping
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.distributions import Delta, TransformedDistribution, constraints
from numpyro.distributions.distribution import Distribution
from numpyro.distributions.transforms import Transform

from taut._core.errors import InputError, first_few
from taut.guides.pieces.jacobian import log_abs_det
from taut.guides.pieces.joint import Joint, as_joint
from taut.guides.pieces.newton import invert


@overload
def transformed(
    base: Distribution,
    fn: Callable[[Any], Any],
    *,
    inverse: Callable[[Any], Any] | None = None,
    support: Any = None,
) -> TransformedDistribution: ...


@overload
def transformed(
    base: Joint | Mapping[str, Distribution],
    fn: Callable[..., Mapping[str, Any]],
    *,
    inverse: Callable[..., Mapping[str, Any]] | None = None,
) -> Joint: ...


def transformed(base, fn, *, inverse=None, support=None):
    """The distribution of fn(u), where u is drawn from `base`.

    Its log density is log q(u) - log|det dfn/du|. The determinant is computed by automatic
    differentiation: one derivative where `fn` treats every number by itself, a product of small
    determinants where it is triangular in its named values, a full one otherwise.

    Args:
        base: a NumPyro distribution, whose events `fn` maps to events of the same shape; or named
            values, as a dict of distributions or a piece such as `independent(...)`, which `fn`
            takes as keywords and maps to a dict of named values.
        fn: a smooth map that can be inverted. A `Delta` it returns counts as its value: its own
            log_density is not added to the determinant found here.
        inverse: its inverse, if known. Otherwise densities of values that were not drawn here are
            found by Newton's method, and are not finite where that fails.
        support: where the values lie, for a distribution; all reals if not given.

    Returns:
        For a distribution, a distribution, to be used in `numpyro.sample`. For named values, a
        piece: called in a guide, it states its sites.

    Raises:
        InputError: fewer or more numbers come out than go in, so there is no density.
    """
    if isinstance(base, Distribution):
        transform = AutodiffTransform(fn, inverse, base.event_dim, support)
        _check_event(base, fn)
        return TransformedDistribution(base, transform)
    if support is not None:
        raise InputError("support= is for a distribution; named values lie where fn puts them")
    return TransformedJoint(as_joint(base), fn, inverse)


class AutodiffTransform(Transform):
    """A map of events whose Jacobian is found by automatic differentiation."""

    def __init__(self, fn: Callable, inverse: Callable | None, event_dim: int, support: Any):
        self.fn, self.known_inverse, self.event_dim = fn, inverse, event_dim
        real = constraints.real
        self.base_support = constraints.independent(real, event_dim) if event_dim else real
        self.support = self.base_support if support is None else support

    @property
    def domain(self) -> Any:
        """All reals, in events."""
        return self.base_support

    @property
    def codomain(self) -> Any:
        """The support that was given."""
        return self.support

    def __call__(self, x: Any) -> Any:
        """The values of points (*batch, *event)."""
        return self._batched(lambda event: _value(self.fn(event)), x)

    def _inverse(self, y: Any) -> Any:
        if self.known_inverse is not None:
            return self._batched(self.known_inverse, y)
        return self._batched(lambda event: invert(lambda x: _value(self.fn(x)), event), y)

    def log_abs_det_jacobian(self, x: Any, y: Any, intermediates: Any = None) -> Any:
        """log|det| at points (*batch, *event); (*batch,)."""
        return self._batched(
            lambda event: log_abs_det(lambda v: {"x": _value(self.fn(v["x"]))}, {"x": event}), x
        )

    def _batched(self, function: Callable, array: Any) -> Any:
        array = jnp.asarray(array)
        for _ in range(array.ndim - self.event_dim):
            function = jax.vmap(function)
        return function(array)

    def tree_flatten(self) -> Any:
        """No leaves: what the function reads stays inside it."""
        names = ("fn", "known_inverse", "event_dim", "base_support", "support")
        return (), ((), {name: getattr(self, name) for name in names})


class TransformedJoint(Joint):
    """Named values that are computed from other named values."""

    def __init__(self, base: Joint, fn: Callable, inverse: Callable | None):
        self.base, self.fn, self.inverse = base, fn, inverse

    def draw(self, key: Any) -> tuple[dict[str, Any], Any]:
        """One draw and its log density."""
        source, log_q = self.base.draw(key)
        values = self._map(source)
        return values, log_q - log_abs_det(self._map, source)

    def log_prob(self, values: Mapping[str, Any]) -> Any:
        """Log density at given values; a scalar."""
        values = {name: jnp.asarray(v) for name, v in values.items()}
        if self.inverse is not None:
            source = dict(self.inverse(**values))
        else:
            source = self._solve(values)
        return self.base.log_prob(source) - log_abs_det(self._map, source)

    def state(self, auxiliary: bool = False) -> dict[str, Any]:
        """State the base's sites as auxiliaries, and the computed ones."""
        source = self.base.state(auxiliary=True)
        values = self._map(source)
        clash = sorted(set(values) & set(source))
        if clash:
            raise InputError(
                f"transformed makes {first_few(clash)} from values of the same name; call the "
                f"values it is made from differently, such as {clash[0] + '_base'!r}"
            )
        density = -log_abs_det(self._map, source)
        infer = {"is_auxiliary": True} if auxiliary else {}
        for name, value in values.items():
            computed = Computed(value, log_density=density, event_dim=np.ndim(value))
            numpyro.sample(name, computed, infer=infer)
            density = jnp.zeros(())  # counted once, at the first site
        return values

    def _map(self, source: Mapping[str, Any]) -> dict[str, Any]:
        made = self.fn(**source)
        if not isinstance(made, Mapping):
            raise InputError(
                "the function given to transformed returns a dict of named values, such as "
                f'{{"x": ...}}; it returned {type(made).__name__}'
            )
        return {name: _value(v) for name, v in made.items()}

    def _solve(self, values: dict[str, Any]) -> dict[str, Any]:
        shapes = {n: v.shape for n, v in jax.eval_shape(self._source, jax.random.key(0)).items()}
        flat = jnp.concatenate([jnp.ravel(values[name]) for name in sorted(values)])

        def split(vector: Any) -> dict[str, Any]:
            parts, start = {}, 0
            for name, shape in shapes.items():
                size = int(np.prod(shape, dtype=int))
                parts[name] = vector[start : start + size].reshape(shape)
                start += size
            return parts

        def mapped(vector: Any) -> Any:
            made = self._map(split(vector))
            return jnp.concatenate([jnp.ravel(made[name]) for name in sorted(made)])

        return split(invert(mapped, flat))

    def _source(self, key: Any) -> dict[str, Any]:
        return self.base.draw(key)[0]


class Computed(Delta):
    """A computed value with its log density.

    A Delta's log density is minus infinity where value and position differ by a rounding, as they
    may where XLA computes both; this one knows that they are the same.
    """

    def log_prob(self, value: Any) -> Any:
        """The log density given; (*batch,)."""
        return jnp.broadcast_to(jnp.asarray(self.log_density), self.batch_shape)


def _value(made: Any) -> Any:
    return jnp.asarray(made.v if isinstance(made, Delta) else made)


def _check_event(base: Distribution, fn: Callable) -> None:
    event = jax.ShapeDtypeStruct(base.event_shape, jnp.zeros(()).dtype)
    made = jax.eval_shape(lambda x: _value(fn(x)), event)
    if made.shape != base.event_shape:
        raise InputError(
            f"transformed maps events of shape {base.event_shape} to shape {made.shape}; a "
            "density needs as many numbers as it is made from"
        )
