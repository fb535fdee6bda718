"""Which scalars a plot shows, over which range, in which unit.

Axes get plain short numbers: a Julian date is shown less 2456789, a distance in metres over 1e16,
and a positive value with a very long tail as its log10, so that tick labels need no offsets. A
range holds 99 % of the draws and the truth, so that one far draw does not flatten the rest.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from taut._core.errors import InputError, first_few
from taut.report.names import scalar_columns, scalar_names, unknown_name

_VIEW = (0.005, 0.995)
_BINS = (16, 80)
_FAR = 4.0  # a truth further out than this many ranges of the draws is named, not drawn
_OFFSET_RATIO = 1e4
_LONG_TAIL = 12.0  # 95 % quantile over median from which a positive value is drawn as its log10
_MOST_LEVELS = 40
LOGARITHM = "(log10)"


@dataclasses.dataclass(frozen=True)
class ShownScalar:
    """One scalar, ready to draw.

    Args:
        name: such as "theta[0]".
        unit: what the axis shows of it, such as "/ 1e12" or "(log10)"; empty for the value itself.
        draws: finite draws, in that unit.
        view: the ends of the axis, in that unit.
        bins: how many bins a histogram over the view takes.
        discrete: whether the draws are a few whole numbers, one bin each.
        truth: the true value in that unit; None if unknown or out of view.
        offset: what was subtracted of the value.
        scale: what it was then divided by.
    """

    name: str
    unit: str
    draws: np.ndarray
    view: tuple[float, float]
    bins: int
    discrete: bool
    truth: float | None
    offset: float
    scale: float

    def in_unit(self, values: np.ndarray) -> np.ndarray:
        """Return other values of the same scalar in the unit of the axis."""
        values = np.asarray(values, dtype=np.float64)
        if self.unit == LOGARITHM:
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.log10(values)
        return (values - self.offset) / self.scale


class Sampled(Protocol):
    """What has draws by site, latent ones first: a fit, or several fits together."""

    @property
    def sites(self) -> Sequence[str]:
        """The latent sites in model order."""
        ...

    def sample(self) -> Mapping[str, np.ndarray]:
        """Return draws of every site, the draws on the first axis."""
        ...


def choose_scalars(
    fit: Sampled,
    names: str | Sequence[str] | None,
    truth: Mapping[str, Any] | None,
    limit: int,
) -> tuple[list[ShownScalar], list[str]]:
    """Return the scalars to draw, and sentences on what was left out and why.

    Without `names`, the first `limit` scalars of the latent sites are taken.

    Raises:
        InputError: unknown names, truths of another shape, or nothing left to draw.
    """
    draws = {site: np.asarray(array) for site, array in fit.sample().items()}
    truths = _scalar_truths(draws, truth or {})
    sites = list(fit.sites) if names is None else list(draws)
    columns = {name: c for site in sites for name, c in scalar_columns(draws, site).items()}
    remarks = []
    if names is None:
        chosen = list(columns)[:limit]
        if len(columns) > limit:
            remarks.append(f"first {limit} of {len(columns)} values (names=[...] shows others)")
    else:
        chosen = _resolve(draws, [names] if isinstance(names, str) else names)
    constant = [name for name in chosen if np.all(columns[name] == columns[name][0])]
    broken = [name for name in chosen if not np.all(np.isfinite(columns[name]))]
    if constant:
        remarks.append(f"left out, every draw is the same: {first_few(constant)}")
    if broken:
        remarks.append(f"left out, some draws are not finite: {first_few(broken)}")
    kept = [name for name in chosen if name not in {*constant, *broken}]
    if not kept:
        raise InputError(
            f"nothing to draw ({'; '.join(remarks) or 'no values'}); name other values"
        )
    shown = [prepare(name, columns[name].astype(np.float64), truths.get(name)) for name in kept]
    unseen = [s.name for s in shown if s.truth is None and s.name in truths]
    if unseen:
        remarks.append(f"truth far outside the view: {first_few(unseen)}")
    return shown, remarks


def _resolve(draws: Mapping[str, np.ndarray], names: Sequence[str]) -> list[str]:
    by_site = {site: scalar_names(site, array.shape[1:]) for site, array in draws.items()}
    scalars = [name for group in by_site.values() for name in group]
    known = [*dict.fromkeys([*by_site, *scalars])]
    problems = [unknown_name(name, known, "names") for name in names if name not in known]
    if problems:
        raise InputError(problems)
    return [*dict.fromkeys(s for name in names for s in by_site.get(name, [name]))]


def _scalar_truths(draws: Mapping[str, np.ndarray], truth: Mapping[str, Any]) -> dict[str, float]:
    """Return the truth by scalar, from values by site or by scalar."""
    by_site = {site: scalar_names(site, array.shape[1:]) for site, array in draws.items()}
    scalars = dict.fromkeys(name for group in by_site.values() for name in group)
    problems, out = [], {}
    for name, value in truth.items():
        array = np.asarray(value, dtype=np.float64)
        if name in by_site and array.shape == draws[name].shape[1:]:
            out |= dict(zip(by_site[name], array.ravel().tolist(), strict=True))
        elif name in scalars and array.ndim == 0:
            out[name] = float(array)
        elif name in by_site:
            problems.append(
                f"truth: {name!r} has shape {array.shape}, but the site has shape "
                f"{draws[name].shape[1:]}; give one value for each scalar"
            )
        elif name in scalars:
            problems.append(f"truth: {name!r} is one number, but the value has shape {array.shape}")
        else:
            problems.append(unknown_name(name, by_site | scalars, "truth"))
    if problems:
        raise InputError(problems)
    return out


def prepare(name: str, draws: np.ndarray, truth: float | None) -> ShownScalar:
    """Choose the unit, the view and the bins of one scalar's draws, which must vary."""
    discrete = _is_discrete(draws)
    logarithm = not discrete and _has_long_tail(draws)
    if logarithm:
        draws = np.log10(draws)
        truth = math.log10(truth) if truth is not None and truth > 0 else None
    low, high = view_of(draws, discrete)
    span = high - low
    if truth is not None and not low - _FAR * span <= truth <= high + _FAR * span:
        truth = None
    if truth is not None:
        beside = 0.5 if discrete else 0.05 * span
        low, high = min(low, truth - beside), max(high, truth + beside)
    bins = round(high - low) if discrete else _bins(draws, high - low)
    offset, power = (0.0, 0) if logarithm else _unit(low, high)
    unit = 10.0**power
    return ShownScalar(
        name=name,
        unit=LOGARITHM if logarithm else _unit_words(offset, power),
        draws=(draws - offset) / unit,
        view=((low - offset) / unit, (high - offset) / unit),
        bins=bins,
        discrete=discrete,
        truth=None if truth is None else (truth - offset) / unit,
        offset=offset,
        scale=unit,
    )


def _is_discrete(draws: np.ndarray) -> bool:
    return bool(np.ptp(draws) < _MOST_LEVELS and np.all(draws == np.round(draws)))


def _has_long_tail(draws: np.ndarray) -> bool:
    middle, high = np.quantile(draws, (0.5, 0.95))
    return bool(draws.min() > 0 and high > _LONG_TAIL * middle)


def view_of(draws: np.ndarray, discrete: bool) -> tuple[float, float]:
    """Return the ends of an axis for some draws, given in its unit."""
    least, most = float(draws.min()), float(draws.max())
    if discrete:
        return least - 0.5, most + 0.5
    low, high = np.quantile(draws, _VIEW).tolist()
    if low == high:
        low, high = least, most
    pad = 0.15 * (high - low)
    # Not past the last draw: an axis that starts where the draws start shows a hard bound, and its
    # first bin is as wide as the others.
    return max(low - pad, least), min(high + pad, most)


def _bins(draws: np.ndarray, span: float) -> int:
    """Return Freedman and Diaconis' (1981) number of bins, within bounds."""
    low, high = np.quantile(draws, (0.25, 0.75))
    wanted = 2 * (high - low) / len(draws) ** (1 / 3)
    return int(np.clip(span / wanted if wanted > 0 else math.inf, *_BINS))


def _unit(low: float, high: float) -> tuple[float, int]:
    """Return the offset and the power of ten that leave short numbers on the axis."""
    span, offset = high - low, 0.0
    if max(abs(low), abs(high)) > _OFFSET_RATIO * span:
        grid = 10.0 ** (math.ceil(math.log10(span)) + 1)
        offset = math.floor(low / grid) * grid
    power = math.floor(math.log10(max(abs(low - offset), abs(high - offset))))
    return offset, 0 if -4 < power < 5 else power


def _unit_words(offset: float, power: int) -> str:
    less = f"\N{MINUS SIGN} {offset:.15g}" if offset else ""
    over = f"/ 1e{power}" if power else ""
    return f"({less}) {over}" if less and over else less + over
