"""Arguments whose NaN or infinite values reach the log density.

An argument may hold them where the model does not read it, or masks it well. Which ones do harm is
found by computing: all are put right, then each is put back alone.
"""

import functools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.precision import precision_of
from taut.targets.program import Program
from taut.targets.representable import dtype_without, lost_in_single
from taut.targets.validation import MEND, Leaf, ObservedCheck, not_finite_words

MASKED_TOO_LATE = (
    "the log density is finite but its derivative is not: a mask that comes after arithmetic lets "
    "them through; put finite values there before it, as in x = jnp.where(jnp.isfinite(x), x, 0.0)"
)


class NotFinite:
    """The arguments of a model that hold NaN or infinite values.

    Args:
        program: the model.
        names: of the data leaves.
        leaves: the data.
        checks: of observed sites; what they find is not told again.
    """

    def __init__(
        self,
        program: Program,
        names: Sequence[str],
        leaves: Sequence[Any],
        checks: Sequence[ObservedCheck] = (),
    ):
        self._program, self._names, self._leaves = program, names, tuple(leaves)
        usable = [_finite(leaf) for leaf in leaves]
        told = _told(checks, names, leaves)
        for place, check in told.items():
            usable[place] = check.usable(leaves)
        self._suspects = _suspects(leaves, told)
        self._sound = tuple(map(_put_right, leaves, usable))
        self._dtype = program.dtype or dtype_without(lost_in_single(names, self._sound))

    @functools.cached_property
    def known(self) -> bool:
        """Whether it can be known which of them do harm: with all put right there is none."""
        return bool(self._suspects) and all(self._evaluate(self._sound))

    def problems(self) -> list[str]:
        """Say which of them make the log density at zero not finite, or all that may."""
        if not self.known:
            return [_suspected(self._names[i], self._leaves[i]) for i in self._suspects]
        found = (self._problem(i) for i in self._suspects)
        return [problem for problem in found if problem]

    def _problem(self, place: int) -> str | None:
        leaves = (*self._sound[:place], self._leaves[place], *self._sound[place + 1 :])
        value, derivative = self._evaluate(leaves)
        if value and derivative:
            return None
        what = f"argument {self._names[place]!r} is {not_finite_words(self._leaves[place])}"
        if value:
            return f"{what}; {MASKED_TOO_LATE}"
        with precision_of(self._dtype):
            sites = self._program.diagnose(leaves, np.zeros(self._program.dim))
        return f"{'; '.join([what, *sites])}; {MEND}"

    def _evaluate(self, leaves: Sequence[Any]) -> tuple[bool, bool]:
        """Whether the log density at zero is finite, and whether its derivative is."""
        with precision_of(self._dtype), self._program.watch.running():
            value, derivative = self._compiled(np.zeros(self._program.dim, self._dtype), leaves)
        return bool(np.isfinite(value)), bool(np.isfinite(derivative).all())

    @functools.cached_property
    def _compiled(self) -> Callable:
        density = self._program.log_density
        return jax.jit(jax.value_and_grad(lambda z, leaves: density(leaves, z)))


def suspected_arguments(
    names: Sequence[str], leaves: Sequence[Any], checks: Sequence[ObservedCheck]
) -> list[str]:
    """Say which arguments hold NaN or infinite values that may do harm, where none is computed."""
    places = _suspects(leaves, _told(checks, names, leaves))
    return [_suspected(names[i], leaves[i]) for i in places]


def _suspected(name: str, leaf: Any) -> str:
    return (
        f"argument {name!r} is {not_finite_words(leaf)}; where these enter the log density, {MEND}"
    )


def _told(
    checks: Sequence[ObservedCheck], names: Sequence[str], leaves: Sequence[Any]
) -> dict[int, ObservedCheck]:
    """Return the checks that find something, by the place of the data leaf."""
    found = ((c.source, c) for c in checks if c.problem(names, leaves))
    return {source.index: check for source, check in found if isinstance(source, Leaf)}


def _suspects(leaves: Sequence[Any], told: Collection[int]) -> list[int]:
    return [i for i, v in enumerate(leaves) if i not in told and not _finite(v).all()]


def _finite(leaf: Any) -> np.ndarray:
    if not jnp.issubdtype(leaf.dtype, np.inexact):
        return np.ones(np.shape(leaf), bool)
    # What a masked array hides is told elsewhere.
    return np.isfinite(np.asarray(leaf)) | np.ma.getmaskarray(leaf)


def _put_right(leaf: Any, usable: np.ndarray) -> Any:
    """Return data with the first usable value in place of those that are not."""
    if usable.all():
        return leaf
    values = np.array(leaf)
    good = values[usable]
    values[~usable] = good[0] if len(good) else 1
    return values
