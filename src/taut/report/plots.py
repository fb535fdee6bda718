"""The plots of a fit, as Matplotlib figures."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from taut.report.fitted import Fitted, guide_words
from taut.report.plot_corner import draw_corner
from taut.report.plot_forest import draw_forest
from taut.report.plot_k_hat import draw_k_hat
from taut.report.plot_loss import draw_loss
from taut.report.plot_marginals import draw_marginals
from taut.report.plot_overlay import draw_overlay
from taut.report.plot_pairs import draw_pairs
from taut.report.plot_predictive import draw_predictive


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

        The stages of a fit use different draws, so the loss may jump between them, and where new
        draws are made within a stage. The first panel is limited in height where early losses would
        flatten the rest, and says so; the second shows the last 30 % of the work, at least a fifth
        of a nat high, with a band where the loss of the fit lies on draws that no step has seen.

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
        others: Mapping[str, Any] | None = None,
    ) -> Any:
        """Draw every pair of scalars, from 4,000 draws.

        Scalars whose draws are all the same or not all finite are left out, and the title says so.

        Args:
            names: sites or scalars ("theta", "theta[0]"), deterministic ones included; without it,
                the first eight latent scalars.
            truth: values to mark, by site or scalar.
            others: fits, NUTS runs or draws by site to draw over this fit, each by a name:
                `{"nuts": taut.nuts(model, *data)}`.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib or corner is not installed.
            InputError: an unknown name, a truth of another shape, or nothing to draw.
        """
        if others:
            return draw_overlay(self._beside(others), names, truth)
        return draw_corner(self.fit, names, truth)

    def forest(
        self,
        names: str | Sequence[str] | None = None,
        truth: Mapping[str, Any] | None = None,
        others: Mapping[str, Any] | None = None,
        sort: bool = False,
    ) -> Any:
        """Draw the groups of a hierarchical model: a row of intervals for each, a panel a site.

        Args:
            names: sites or scalars ("theta", "theta[0]"), deterministic ones included; without it,
                the first sixty groups of each latent site that has several values.
            truth: values to mark, by site or scalar.
            others: fits, NUTS runs or draws by site to draw beside this fit, each by a name:
                `{"nuts": taut.nuts(model, *data)}`.
            sort: order the rows of each site by their median (of the last of `others`, if any).

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
            InputError: an unknown name, a truth of another shape, or nothing to draw.
        """
        heading = [] if others else [f"{guide_words(self.fit)}, trust: {self.fit.trust}"]
        return draw_forest(self._beside(others or {}), names, truth, sort, heading)

    def marginals(
        self,
        names: str | Sequence[str] | None = None,
        truth: Mapping[str, Any] | None = None,
        prior: bool | None = None,
    ) -> Any:
        """Draw a histogram of each scalar with its median and 90 % interval, from 4,000 draws.

        Args:
            names: sites or scalars ("theta", "theta[0]"), deterministic ones included; without it,
                the first twenty latent scalars.
            truth: values to mark, by site or scalar.
            prior: whether to draw the prior behind; by default where it can be drawn from.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
            InputError: an unknown name, a truth of another shape, nothing to draw, or a prior that
                was asked for and cannot be drawn from.
        """
        return draw_marginals(self.fit, names, truth, prior)

    def pairs(self, names: str | Sequence[str] | None = None) -> Any:
        """Draw the twelve most strongly related pairs of scalars, over the guide's own draws.

        Where the grey squares of the guide stick out of the blue dots of the posterior, the
        correction had work to do. Strength is the rank correlation.

        Args:
            names: sites or scalars to choose the pairs from, deterministic ones included; without
                it, the first two hundred latent scalars.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
            InputError: an unknown name, or fewer than two values to draw.
        """
        return draw_pairs(self.fit, names)

    def k_hat(self) -> Any:
        """Draw the Pareto k-hat of all importance weights and of the thirty hardest scalars.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
            InputError: no k-hat is known.
        """
        return draw_k_hat(self.fit)

    def predictive(
        self, names: str | Sequence[str] | None = None, against: Any | None = None
    ) -> Any:
        """Hold the data against replicates, a thousand unless there are very many data.

        Args:
            names: observed sites; without it, the first four.
            against: a value for each observation, such as a covariate, to draw them along; without
                it, their number.

        Returns:
            A `matplotlib.figure.Figure`.

        Raises:
            MissingExtraError: Matplotlib is not installed.
            InputError: an unknown name, no observed data, values of another shape, or a fit that
                was loaded without its model and data.
        """
        return draw_predictive(self.fit, names, against)

    def _beside(self, others: Mapping[str, Any]) -> dict[str, Any]:
        name = "fit" if "fit" not in others else "this fit"
        return {name: self.fit, **others}
