"""What `taut.fit` returns."""

import functools
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from taut._core.errors import InputError, UntrustedError, did_you_mean
from taut._core.whole_file import write_whole
from taut.diagnostics.more_draws import more_draws
from taut.mcmc.nuts import nuts
from taut.posterior.draws import Draws
from taut.posterior.pool import Pool, side_by_side
from taut.predictive.calls import check_numbers, model_of
from taut.report.comparison import Comparison, compare
from taut.report.html import to_html
from taut.report.names import named_draws, scalar_names
from taut.report.plots import Plots
from taut.report.summary import Summary, summarise
from taut.report.text import describe, describe_short
from taut.results.account import Account
from taut.results.prediction import draw_prior, observed_data, predict
from taut.results.record import Record
from taut.results.scalar_shapes import scalar_k_hats
from taut.targets.constrainer import Constrainer
from taut.targets.oracle import Oracle
from taut.targets.site_density import SiteDensity
from taut.targets.target import Target

LEVELS = ("not trusted", "usable", "trusted")

NEEDS_MODEL = (
    "this fit was loaded without its model, which {what} needs: load it as "
    "taut.load(path, model, *args, **kwargs)"
)


class Fit(Account):
    """A fitted posterior: draws, moments, densities, and whether to believe them.

    Draws and moments are in the model's own, constrained coordinates and come from one stored pool
    of corrected draws.

    Args:
        record: the outcome as plain data.
        target: what was fitted; None for a fit loaded without its model and data.
        model: the model, where it is known without its data.
    """

    def __init__(self, record: Record, target: Target | None, model: Callable | None = None):
        self._stored = record
        self._target = target
        self._model = model if target is None else model_of(target)

    @property
    def _record(self) -> Record:
        return self._stored

    def require(self, level: str = "usable") -> "Fit":
        """Return the fit, or raise if it is less trustworthy than `level`.

        Raises:
            UntrustedError: with the findings that decided.
        """
        if level not in LEVELS:
            raise InputError(f"unknown level {level!r}; levels: {', '.join(LEVELS)}")
        if LEVELS.index(self.trust) < LEVELS.index(level):
            why = " ".join(f.message for f in self.findings if f.level in ("bad", "doubt"))
            raise UntrustedError(f"the fit is {self.trust!r}, {level!r} was required. {why}")
        return self

    # Draws.

    @property
    def pool(self) -> Mapping[str, np.ndarray]:
        """All stored draws by name, each with a leading axis of draws."""
        return self._record.pool.values

    @property
    def latent_pool(self) -> Pool:
        """All stored draws with their latent vectors, such as `taut.nuts(..., start=fit)` takes."""
        return self._record.pool

    def sample(
        self, n: int = 4000, seed: int = 0, corrected: bool = True
    ) -> dict[str, Float[np.ndarray, "n ..."]]:
        """Return posterior draws in the model's own coordinates, deterministic sites included.

        Args:
            n: how many draws.
            seed: which of the draws.
            corrected: False gives the guide's own draws, before any correction.

        Raises:
            InputError: n or seed is no whole number, or a fit loaded without its model holds fewer
                draws.
        """
        check_numbers(n, seed, name="n")
        rng = np.random.default_rng([self.seed, seed])
        if not corrected:
            z, _ = self.guide.draw(n, rng)
            return self._ordered(self._constrain(z, "corrected=False"))
        pool = self._record.pool
        if n <= len(pool):
            return self._ordered(pool.take(n, rng))
        what = f"more than {len(pool)} draws"
        more, _ = more_draws(pool, self.guide, self._oracle(what), n - len(pool), rng)
        extra = self._constrain(more, what)
        joined = {k: np.concatenate([pool.values[k], extra[k]])[:n] for k in pool.values}
        return self._ordered(joined)

    def draws(self, n: int = 4000, seed: int = 0) -> Draws:
        """Return the guide's own draws of the latent vector with log p and log q.

        Raises:
            InputError: for a fit loaded without its model.
        """
        rng = np.random.default_rng([self.seed, seed])
        oracle = self._oracle("draws()")
        z, log_q = self.guide.draw(n, rng)
        log_p, _ = oracle(z)
        return Draws(z, log_p, log_q)

    def log_prob(self, sites: Mapping[str, Any]) -> float | Float[np.ndarray, " n"]:
        """Return the guide's log density at site values, in the model's own coordinates.

        Args:
            sites: a value for every latent site, or arrays of values with one leading axis.

        Raises:
            InputError: a site is missing, unknown or of the wrong shape.
        """
        target = self._require_target("log_prob()")
        z, jacobian, single = SiteDensity(target)(sites)
        log_q = self.guide.log_prob(z) - jacobian
        return float(log_q[0]) if single else log_q

    def predict(
        self,
        /,
        *args: Any,
        draws: int = 4000,
        seed: int = 0,
        anew: Sequence[str] = (),
        megabytes: float = 256.0,
        **kwargs: Any,
    ) -> dict[str, np.ndarray]:
        """Return posterior predictive draws of observed sites, and all deterministic values.

        The model is run at posterior draws with its observed sites drawn anew, whether or not data
        are passed for them: the training call never returns its own data. Row i belongs to row i of
        `fit.sample(draws, seed)`.

        Args:
            *args: the model's positional arguments, such as new covariates of any length. Without
                any arguments, those of the fit.
            draws: how many draws.
            seed: decides the draws.
            anew: latent sites to draw from their priors given all others instead of from the fit,
                such as the effects of new groups.
            megabytes: memory that one chunk of draws may take on the device.
            **kwargs: the model's keyword arguments. One that has the name of an option here must
                be given by position.

        Returns:
            Arrays of shape (draws, *site shape) by site, in the model's order: all sites that are
            not fitted latents.

        Raises:
            InputError: the arguments do not fit the model, a latent has another shape in this call
                than in the fit, there is nothing to predict, or the fit was loaded without its
                model.
        """
        check_numbers(draws, seed, megabytes)
        posterior = self.sample(draws, seed)
        return predict(
            self._record,
            self._model,
            self._target,
            posterior,
            args,
            kwargs,
            seed=seed,
            anew=anew,
            megabytes=megabytes,
        )

    def prior(self, draws: int = 4000, seed: int = 0) -> dict[str, np.ndarray]:
        """Return draws of all sites from the prior, observed ones included; see `taut.prior`.

        Raises:
            InputError: a prior is improper, or the fit was loaded without its model and data.
        """
        return draw_prior(self._record, self._target, draws, seed)

    @property
    def observed(self) -> Mapping[str, np.ndarray]:
        """The data of the observed sites, those made inside the model included."""
        return self._observed

    @functools.cached_property
    def _observed(self) -> Mapping[str, np.ndarray]:
        return observed_data(self._record, self._target)

    # Moments.

    def mean(self, name: str) -> Any:
        """Return the posterior mean of a site: a float, or an array of the site's shape.

        One scalar of a site is named as in the summary: `fit.mean("b[1,0]")`.
        """
        return _plain(self._values(name).mean(axis=0))

    def sd(self, name: str) -> Any:
        """Return the posterior standard deviation of a site."""
        return _plain(self._values(name).std(axis=0, ddof=1))

    def covariance(self, *names: str) -> Float[np.ndarray, "scalars scalars"]:
        """Return the covariance of the named sites' scalars, in the model's own coordinates.

        Sites, or scalars such as "b[1,0]", follow in the order given, each flattened; without
        names, all latent sites.
        """
        return np.atleast_2d(np.cov(self._columns(names).T))

    def correlation(self, *names: str) -> Float[np.ndarray, "scalars scalars"]:
        """Return the correlation of the named sites' scalars; see `covariance`."""
        return np.atleast_2d(np.corrcoef(self._columns(names).T))

    def summary(self) -> Summary:
        """Return mean, sd, quantiles, Monte Carlo error, effective draws and k-hat per scalar.

        The k-hat of a scalar is the Pareto shape of value times weight among the guide's draws:
        how hard that scalar's mean is for the guide. It needs the model; "nan" without it.
        """
        return self._summary

    @functools.cached_property
    def _summary(self) -> Summary:
        names = (*self.sites, *self.deterministics)
        pool = self._record.pool
        effective: dict[str, float] = {}
        for name in names:
            counts = np.atleast_1d(pool.effective(name)).reshape(-1)
            labels = scalar_names(name, pool.values[name].shape[1:])
            effective.update(zip(labels, counts.tolist(), strict=True))
        return summarise(
            {name: pool.values[name] for name in names}, names, self._k_hats(), effective
        )

    # Pictures, files, other libraries.

    @functools.cached_property
    def plot(self) -> Plots:
        """Plots: loss, corner, forest, marginals, pairs, k_hat, predictive; all return figures."""
        return Plots(self)

    def report(self, path: str | PathLike, title: str = "Taut fit") -> Path:
        """Write one HTML file with everything there is to say, to read, print or send.

        The file needs no network and no other file, and is smaller than 3 MB.

        Args:
            path: the file to write, such as "fit.html".
            title: the title of the page.

        Returns:
            The path.
        """
        from taut.report.page import to_page

        return write_whole(Path(path), to_page(self, title).encode("utf-8"))

    def to_arviz(
        self,
        dims: Mapping[str, Sequence[str]] | None = None,
        coords: Mapping[str, Any] | None = None,
        groups: Sequence[str] | None = None,
    ) -> Any:
        """Return an ArviZ tree of everything about the fit that ArviZ has a place for.

        The tree is a DataTree, or an `arviz.InferenceData` where ArviZ 0.x is installed.
        The draws are those that the fit reports, corrected where the trust says so; log likelihoods
        are those of single observations. The sample_stats are log_p and log_q in the latent space,
        and weights: what each draw counts, the same for all if they were corrected.

        Args:
            dims: names of the axes, by site; by default those of the model's plates.
            coords: coordinate values, by axis name.
            groups: which groups to make: "posterior", "sample_stats", "observed_data",
                "constant_data", "posterior_predictive", "log_likelihood", "prior",
                "prior_predictive". By default all, but for those that would take more than 1 GB and
                those the fit cannot make; the attribute `left_out` then says why.

        Raises:
            MissingExtraError: arviz-base is not installed.
            InputError: dims or coords that do not fit, or a group that cannot be made.
        """
        from taut.results.tree import make_tree

        return make_tree(self._record, self._target, dims, coords, groups)

    def compare_nuts(
        self,
        budget: float | None = None,
        draws: int = 1000,
        chains: int = 4,
        seed: int = 0,
        progress: bool = True,
    ) -> Comparison:
        """Run NUTS from this fit and hold the fit against it.

        Args:
            budget: seconds after which NUTS stops drawing; None for no limit.
            draws: how many draws of each chain.
            chains: how many chains.
            seed: decides every random number of the chains.
            progress: show a progress line on standard error.

        Returns:
            The comparison, with the NUTS run as `comparison.entries["nuts"]`.

        Raises:
            InputError: for a fit loaded without its model.
        """
        target = self._require_target("compare_nuts()")
        run = nuts(
            target,
            start=self,
            draws=draws,
            chains=chains,
            seed=seed,
            budget=budget,
            progress=progress,
        )
        return compare({"fit": self, "nuts": run}, reference="nuts")

    def save(self, path: str | PathLike) -> None:
        """Write the fit to one .npz file of arrays and JSON, without pickle; see `taut.load`."""
        from taut.results.archive import save

        save(self._record.with_k_hats(self._k_hats()), path)

    def __str__(self) -> str:
        return describe(self)

    def __repr__(self) -> str:
        return describe_short(self)

    def _repr_html_(self) -> str:
        return to_html(self)

    # Inside.

    @property
    def _dtype(self) -> np.dtype:
        return np.dtype(self._record.dtype)

    def _values(self, name: str) -> np.ndarray:
        known = self._record.pool.values
        values = named_draws(known, name)
        if values is None:
            raise InputError(
                f"the fit has no site {name!r}{did_you_mean(name, known)}; it has: "
                f"{', '.join(known)}"
            )
        return np.asarray(values, float)

    def _columns(self, names: tuple[str, ...]) -> np.ndarray:
        return side_by_side([self._values(name) for name in names or self.sites])

    def _ordered(self, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {name: values[name] for name in (*self.sites, *self.deterministics)}

    def _require_target(self, what: str) -> Target:
        if self._target is None:
            raise InputError(NEEDS_MODEL.format(what=what))
        return self._target

    def _oracle(self, what: str) -> Oracle:
        return Oracle(self._require_target(what), self._dtype)

    def _constrain(self, z: np.ndarray, what: str) -> dict[str, np.ndarray]:
        return Constrainer(self._require_target(what), self._dtype)(z)

    def _k_hats(self) -> dict[str, float] | None:
        record = self._record
        if record.weighed is None or self._target is None:
            return record.k_hats
        values = self._constrain(record.weighed.z, "k-hat")
        return scalar_k_hats(record.weighed, values)


def _plain(value: np.ndarray) -> Any:
    return float(value) if np.ndim(value) == 0 else value
