"""Several fits and a NUTS run side by side, in units of the posterior's spread."""

import dataclasses
import html
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from taut._core.errors import InputError, MissingExtraError, did_you_mean, first_few
from taut.report.comparison_table import html_table, text_lines
from taut.report.numbers import (
    format_seconds,
    format_with_error,
)
from taut.report.plot_forest import draw_forest
from taut.report.plot_overlay import draw_overlay
from taut.report.summary import Summary, summarise
from taut.report.terminal import shorten_middle

WIDTH = 80


@dataclasses.dataclass(frozen=True, repr=False)
class Comparison:
    """Means and spreads of several posteriors, against one of them.

    Attributes:
        entries: what was compared, by the name it was given.
        reference: which entry the others are held against.
        names: the scalars that all entries have.
        mean: posterior means (entries, scalars).
        sd: posterior standard deviations (entries, scalars).
        mcse: Monte Carlo standard errors of the means (entries, scalars).
        quantiles: the 5 %, 50 % and 95 % quantiles (entries, scalars, 3).
        missing: scalars that only some entries have.
    """

    entries: Mapping[str, Any]
    reference: str
    names: tuple[str, ...]
    mean: Float[np.ndarray, "entries scalars"]
    sd: Float[np.ndarray, "entries scalars"]
    mcse: Float[np.ndarray, "entries scalars"]
    quantiles: Float[np.ndarray, "entries scalars 3"]
    missing: tuple[str, ...]

    @property
    def _row(self) -> int:
        return list(self.entries).index(self.reference)

    @property
    def difference(self) -> Float[np.ndarray, "entries scalars"]:
        """(mean - mean of the reference) / sd of the reference."""
        return _ratio(self.mean - self.mean[self._row], self.sd[self._row])

    @property
    def error(self) -> Float[np.ndarray, "entries scalars"]:
        """Monte Carlo standard error of `difference`; zero for the reference itself."""
        error = np.hypot(self.mcse, self.mcse[self._row])
        error[self._row] = 0.0
        return _ratio(error, self.sd[self._row])

    @property
    def sd_ratio(self) -> Float[np.ndarray, "entries scalars"]:
        """Sd / sd of the reference; one where neither varies."""
        same = (self.sd == 0) & (self.sd[self._row] == 0)
        return np.where(same, 1.0, _ratio(self.sd, self.sd[self._row]))

    def worst(self, entry: str) -> tuple[float, float]:
        """Return an entry's largest difference and the sd ratio that is furthest from one.

        Raises:
            InputError: an unknown entry.
        """
        if entry not in self.entries:
            raise InputError(
                f"no entry is called {entry!r}{did_you_mean(entry, self.entries)}; there are "
                f"{first_few(list(self.entries))}"
            )
        row = list(self.entries).index(entry)
        ratio = self.sd_ratio[row]
        furthest = int(np.nanargmax(np.abs(np.log(np.maximum(ratio, 1e-300)))))
        return float(np.nanmax(np.abs(self.difference[row]))), float(ratio[furthest])

    def to_frame(self) -> Any:
        """Return everything as a pandas DataFrame with one row for each scalar and entry.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("pandas", "data") from None
        index = pd.MultiIndex.from_product([self.names, self.entries], names=["scalar", "entry"])
        columns = {
            "mean": self.mean,
            "sd": self.sd,
            "5%": self.quantiles[..., 0],
            "50%": self.quantiles[..., 1],
            "95%": self.quantiles[..., 2],
            "mcse": self.mcse,
            "difference": self.difference,
            "error": self.error,
            "sd_ratio": self.sd_ratio,
        }
        return pd.DataFrame({name: array.T.ravel() for name, array in columns.items()}, index=index)

    def corner(
        self,
        names: str | Sequence[str] | None = None,
        truth: Mapping[str, Any] | None = None,
    ) -> Any:
        """Draw the corner plots of all entries over each other, from 4,000 draws of each.

        Args:
            names: sites or scalars; without it, the first eight latent scalars.
            truth: values to mark, by site or scalar.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib or corner is not installed.
            InputError: an unknown name, a truth of another shape, or nothing to draw.
        """
        return draw_overlay(self.entries, names, truth)

    def forest(
        self,
        names: str | Sequence[str] | None = None,
        truth: Mapping[str, Any] | None = None,
        sort: bool = False,
    ) -> Any:
        """Draw the groups of a hierarchical model, all entries beside each other; `Plots.forest`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
            InputError: an unknown name, a truth of another shape, or nothing to draw.
        """
        return draw_forest(self.entries, names, truth, sort)

    def __str__(self) -> str:
        lines = [
            f"differences from {shorten_middle(self.reference, 20)}, in its posterior sds, "
            "± Monte Carlo error",
            "",
        ]
        lines += text_lines(self)
        lines.append("")
        for name, entry in self.entries.items():
            lines += textwrap.wrap(_account(name, entry), WIDTH, subsequent_indent="  ")
        if self.missing:
            lines.append(f"not in all of them: {first_few(list(self.missing))}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = f"differences from {self.reference}, in its posterior sds, ± Monte Carlo error"
        feet = [_account(name, entry) for name, entry in self.entries.items()]
        if self.missing:
            feet.append(f"not in all of them: {first_few(list(self.missing))}")
        below = "<br>".join(map(html.escape, feet))
        return f"<p>{html.escape(head)}</p>{html_table(self)}<p>{below}</p>"


def compare(entries: Mapping[str, Any], /, reference: str | None = None) -> Comparison:
    """Hold several posteriors of one model against each other.

    Args:
        entries: fits, NUTS runs, or draws by site as arrays (draws, *site shape), each by a name.
        reference: which one the others are held against; by default the first NUTS run, or else the
            first entry.

    Returns:
        The comparison: print it, `.to_frame()`, `.corner()`.

    Raises:
        InputError: fewer than two entries, something that has no draws, or no scalar in common.
    """
    if not isinstance(entries, Mapping) or len(entries) < 2:
        raise InputError('compare needs two or more entries by name: {"fit": fit, "nuts": run}')
    problems = [
        f"{name!r} is {type(entry).__name__}: give a fit, a NUTS run, or draws by site"
        for name, entry in entries.items()
        if not isinstance(entry, Mapping) and not hasattr(entry, "summary")
    ]
    if reference is not None and reference not in entries:
        problems.append(
            f"no entry is called {reference!r}{did_you_mean(reference, entries)}; there are "
            f"{first_few(list(entries))}"
        )
    if problems:
        raise InputError(problems)
    tables = [_summary(entry) for entry in entries.values()]
    common = [name for name in tables[0].names if all(name in t for t in tables)]
    if not common:
        raise InputError("the entries have no scalar in common: are they of the same model?")
    every = dict.fromkeys(name for table in tables for name in table.names)
    if reference is None:
        runs = [name for name, entry in entries.items() if hasattr(entry, "r_hat")]
        reference = (runs or list(entries))[0]
    return Comparison(
        dict(entries),
        reference,
        tuple(common),
        _collect(tables, common, "mean"),
        _collect(tables, common, "sd"),
        _collect(tables, common, "mcse"),
        np.stack([_collect(tables, common, q) for q in ("5%", "50%", "95%")], axis=-1),
        tuple(name for name in every if name not in set(common)),
    )


def _summary(entry: Any) -> Summary:
    return summarise(entry) if isinstance(entry, Mapping) else entry.summary()


def _collect(tables: Sequence[Summary], names: Sequence[str], column: str) -> np.ndarray:
    return np.array([[table[name][column] for name in names] for table in tables])


def _ratio(value: np.ndarray, sd: np.ndarray) -> np.ndarray:
    # A scalar that does not vary has no sd to measure by: equal is no difference.
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((sd == 0) & (value == 0), 0.0, value / sd)


def _account(name: str, entry: Any) -> str:
    parts = []
    if hasattr(entry, "trust"):
        parts += [
            f"trust: {entry.trust}",
            f"elbo {format_with_error(*entry.elbo)}",
            f"log evidence {format_with_error(*entry.log_evidence)}",
            f"{format_seconds(entry.seconds['total'])} s",
        ]
    elif hasattr(entry, "r_hat"):
        state = "chains agree" if entry.converged else "chains do not agree, or diverged"
        parts += [state, f"{format_seconds(entry.seconds)} s"]
    else:
        count = len(next(iter(entry.values())))
        parts.append(f"{count} draws")
    return f"{name}: {', '.join(parts)}"
