"""The plots of a fit, as Matplotlib figures."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from taut.report.fitted import Fitted
from taut.report.plot_corner import draw_corner
from taut.report.plot_loss import draw_loss
from taut.report.plot_marginals import draw_marginals


@dataclasses.dataclass(frozen=True)
class Plots:
    """Plots of one fit; each method returns a new Matplotlib figure.

    Notebooks show the figure that a cell ends with; elsewhere `figure.savefig("corner.pdf")` writes
    it. Pyplot is not involved: nothing is shown, and nothing has to be closed.

    Args:
        fit: the fit to draw.
    """

    fit: Fitted

    def loss(self) -> Any:
        """Draw the loss against gradient evaluations, by stage, with the decision to stop.

        The stages of a fit use different draws, so the loss may jump between them. The first panel
        is limited in height where early losses would flatten the rest, and says so; the second
        shows the last 30 % of the work.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
        """
        return draw_loss(self.fit)

    def corner(
        self,
        names: str | Sequence[str] | None = None,
        truth: Mapping[str, Any] | None = None,
    ) -> Any:
        """Draw every pair of scalars, from 4,000 draws.

        Scalars whose draws are all the same or not all finite are left out, and the title says so.

        Args:
            names: sites or scalars ("theta", "theta[0]"), deterministic ones included; without it,
                the first eight latent scalars.
            truth: values to mark, by site or scalar.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib or corner is not installed.
            InputError: an unknown name, a truth of another shape, or nothing to draw.
        """
        return draw_corner(self.fit, names, truth)

    def marginals(
        self,
        names: str | Sequence[str] | None = None,
        truth: Mapping[str, Any] | None = None,
    ) -> Any:
        """Draw a histogram of each scalar with its median and 90 % interval, from 4,000 draws.

        Args:
            names: sites or scalars ("theta", "theta[0]"), deterministic ones included; without it,
                the first twenty latent scalars.
            truth: values to mark, by site or scalar.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
            InputError: an unknown name, a truth of another shape, or nothing to draw.
        """
        return draw_marginals(self.fit, names, truth)
