"""The summary table: one row for each scalar of each site.

The Monte Carlo standard error of the mean is sd / √ess, where ess is the number of independent
draws that the (possibly weighted, possibly correlated) draws are worth.
"""

import csv
import dataclasses
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from taut._core.errors import InputError, MissingExtraError, did_you_mean
from taut.report.names import ordered_sites, scalar_names
from taut.report.summary_text import NUMBER_COLUMNS, format_row, table_lines

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_BLOCK = 512  # columns of draws worked on at once: bounds the memory for sites with many scalars
_TABLE_STYLE = (
    "border-collapse:collapse;font-variant-numeric:tabular-nums;text-align:right;"
    "background:transparent;color:inherit"
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Summary(Mapping[str, dict[str, float]]):
    """Posterior mean, sd, quantiles, Monte Carlo error and k-hat of every scalar.

    Printing shows the table; `summary["theta[0]"]` is one row as a dictionary with the keys "mean",
    "sd", "5%", "25%", "50%", "75%", "95%", "mcse" (Monte Carlo standard error of the mean), "ess"
    (effective sample size) and "k_hat" (Pareto shape of the importance weights; NaN if unknown).

    Args:
        names: the scalars, such as "theta[0]".
        values: one row for each scalar, in the order of those keys.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "scalars 10"]

    def __getitem__(self, scalar: str) -> dict[str, float]:
        try:
            row = self.values[self.names.index(scalar)]
        except ValueError:
            raise KeyError(
                f"no scalar is called {scalar!r}{did_you_mean(scalar, self.names)}"
            ) from None
        return dict(zip(NUMBER_COLUMNS, row.tolist(), strict=True))

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __str__(self) -> str:
        return "\n".join(self.lines(len(self.names) + 2))

    __repr__ = __str__

    def lines(self, max_rows: int) -> list[str]:
        """Return the table as at most `max_rows` lines, its head included.

        A last line counts the rows that were left out. No line is wider than 80 columns: columns
        are left out where the numbers need the room.
        """
        return table_lines(self.names, self.values, max_rows)

    def to_frame(self) -> Any:
        """Return the table as a pandas DataFrame, indexed by scalar, in full precision.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("pandas", "data") from None
        return pd.DataFrame(
            self.values.copy(),
            index=pd.Index(self.names, name="scalar"),
            columns=pd.Index(NUMBER_COLUMNS),
        )

    def to_csv(self, path: Any = None) -> str | None:
        """Write the table in full precision; without a path, return it as text."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(("scalar", *NUMBER_COLUMNS))
        for name, row in zip(self.names, self.values.tolist(), strict=True):
            writer.writerow((name, *map(repr, row)))
        if path is None:
            return buffer.getvalue()
        with open(path, "w", encoding="utf-8", newline="") as file:
            file.write(buffer.getvalue())
        return None

    def to_html(self, max_rows: int | None = None) -> str:
        """Return the table as HTML with every name escaped, at most `max_rows` scalars of it."""
        shown = len(self.names) if max_rows is None else min(max_rows, len(self.names))
        head = "".join(f"<th style='padding:2px 8px'>{c}</th>" for c in ("", *NUMBER_COLUMNS))
        body = []
        for name, row in zip(self.names[:shown], self.values[:shown], strict=True):
            cells = "".join(f"<td style='padding:2px 8px'>{c}</td>" for c in format_row(row))
            title = f"<th style='text-align:left;padding:2px 8px'>{html.escape(name)}</th>"
            body.append(f"<tr>{title}{cells}</tr>")
        table = (
            f"<div style='overflow-x:auto'><table style='{_TABLE_STYLE}'><thead><tr>{head}</tr>"
            f"</thead><tbody>{''.join(body)}</tbody></table></div>"
        )
        hidden = len(self.names) - shown
        return table + (f"<p>... and {hidden} more rows: fit.summary()</p>" if hidden else "")

    def _repr_html_(self) -> str:
        return self.to_html()


def summarise(
    draws: Mapping[str, np.ndarray],
    order: Sequence[str] = (),
    k_hat: Mapping[str, float] | None = None,
    effective: Mapping[str, float] | float | None = None,
) -> Summary:
    """Summarise posterior draws, one row for each scalar.

    Args:
        draws: arrays of shape (draws, *site shape) by site.
        order: sites to show first, such as the latents in model order; the others follow.
        k_hat: Pareto k-hat by scalar name; scalars without one are shown as '-'.
        effective: effective sample size by scalar name, or one for all; None says that the draws
            are independent, so that every draw counts.

    Raises:
        InputError: no draws, sites with different numbers of draws, or a site without draws.
    """
    arrays = {site: np.asarray(array) for site, array in draws.items()}
    sites = ordered_sites(arrays, order)
    count = _number_of_draws(arrays)
    names: list[str] = []
    blocks: list[np.ndarray] = []
    for site in sites:
        flat = arrays[site].reshape(count, -1)
        names.extend(scalar_names(site, arrays[site].shape[1:]))
        for start in range(0, flat.shape[1], _BLOCK):
            blocks.append(_moments(flat[:, start : start + _BLOCK].astype(np.float64)))
    moments = np.concatenate(blocks) if blocks else np.empty((0, 7))
    shape = np.array([(k_hat or {}).get(name, np.nan) for name in names], dtype=np.float64)
    ess = _effective_sizes(effective, names, count)
    sd = moments[:, 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        mcse = np.where(sd == 0, 0.0, sd / np.sqrt(ess))
    values = np.column_stack([moments, mcse, ess, shape])
    values.flags.writeable = False
    return Summary(tuple(names), values)


def _number_of_draws(arrays: Mapping[str, np.ndarray]) -> int:
    scalars = [site for site, array in arrays.items() if array.ndim == 0]
    lengths = {site: len(array) for site, array in arrays.items() if array.ndim}
    if scalars:
        raise InputError(
            f"draws of {', '.join(map(repr, scalars))} have no axis of draws; "
            "give arrays of shape (draws, *site shape)"
        )
    if len(set(lengths.values())) > 1:
        raise InputError(
            f"sites have different numbers of draws, {lengths}; give as many draws of each"
        )
    count = next(iter(lengths.values()), 0)
    if count == 0:
        raise InputError("there are no draws to summarise; take at least one, better 1000")
    return count


def _effective_sizes(
    effective: Mapping[str, float] | float | None, names: list[str], count: int
) -> np.ndarray:
    if effective is None:
        return np.full(len(names), float(count))
    if isinstance(effective, Mapping):
        return np.array([effective.get(name, np.nan) for name in names], dtype=np.float64)
    return np.full(len(names), float(effective))


def _moments(block: np.ndarray) -> np.ndarray:
    """Return mean, sd and quantiles by column, safe for any magnitude.

    Working on (x - median) / scale keeps the digits of a small sd on a large mean, keeps squares
    from overflowing, and gives a constant column an sd of exactly zero.
    """
    with np.errstate(all="ignore"):
        quantiles = np.quantile(block, QUANTILES, axis=0)
        centre = quantiles[2]
        away = block - centre
        scale = np.max(np.abs(away), axis=0)
        scale = np.where(scale == 0, 1.0, scale)
        unit = away / scale
        mean = centre + scale * np.mean(unit, axis=0)
        # One draw says nothing about the spread.
        sd = scale * np.std(unit, axis=0, ddof=1) if len(block) > 1 else np.full_like(mean, np.nan)
    return np.column_stack([mean, sd, quantiles.T])
