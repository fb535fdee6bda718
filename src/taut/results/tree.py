"""A fit as an ArviZ tree: which groups there are, and what is in them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from taut._core.errors import InputError, did_you_mean
from taut._core.random_keys import as_numbers
from taut.diagnostics.psis import smooth
from taut.guides.program import ProgramGuide
from taut.predictive.calls import bound_call, model_of
from taut.predictive.simulator import Simulator, simulator_of
from taut.report.arviz import for_installed, to_arviz
from taut.report.story import DRAWS
from taut.results.data_axes import with_data_axes
from taut.results.group_size import PRIOR_DRAWS, too_large
from taut.results.prediction import NEEDS_CALL
from taut.results.pymc_groups import PymcGroups
from taut.results.record import Record
from taut.targets.arguments import Arguments
from taut.targets.numpyro_model import ModelProgram
from taut.targets.pymc_model import PymcProgram
from taut.targets.target import Target
from taut.targets.validation import Leaf

DRAWS_ARE = (
    "The draws come from a posterior fitted by variational inference ({source}). They are not one "
    "Markov chain: the chain dimension has length one only because ArviZ expects it, and R-hat has "
    "no meaning."
)
NO_SITES = "{what}: a plain log density does not say what is data and what is prior"
_STORED = ("posterior", "sample_stats", "observed_data")
_COMPUTED = ("posterior_predictive", "log_likelihood", "prior", "prior_predictive", "constant_data")
GROUPS = (*_STORED, *_COMPUTED)


def make_tree(
    record: Record,
    target: Target | None,
    dims: Mapping[str, Sequence[str]] | None,
    coords: Mapping[str, Any] | None,
    groups: Sequence[str] | None,
) -> Any:
    """Return the tree of a fit; see `Fit.to_arviz`."""
    unknown = [name for name in groups or () if name not in GROUPS]
    if unknown:
        raise InputError(
            [
                f"groups: no group is called {name!r}{did_you_mean(name, GROUPS)}; there are "
                f"{', '.join(GROUPS)}"
                for name in unknown
            ]
        )
    sites = [site.name for site in record.sites]
    pool = record.pool
    found: dict[str, Mapping[str, np.ndarray]] = {
        "posterior": {name: pool.values[name] for name in (*sites, *record.deterministics)},
        "sample_stats": _sample_stats(record),
        "observed_data": record.observed,
    }
    plates = {site.name: site.dims for site in record.sites}
    left_out: dict[str, str] = {}
    call = _call_of(record, target)
    if call is not None:
        plates |= call.plates
        coords = {**call.coords, **(coords or {})}
        found["observed_data"] = call.observed()
        wanted = _COMPUTED if groups is None else [name for name in _COMPUTED if name in groups]
        for name in wanted:
            reason = None if groups is not None else call.too_large(name)
            if reason is None:
                try:
                    found[name] = getattr(call, name)()
                except InputError as error:
                    if groups is not None:
                        raise
                    reason = str(error)
            if reason is not None:
                left_out[name] = reason
    else:
        why = NEEDS_CALL if target is None else NO_SITES
        if groups is None:
            left_out = {name: why.format(what=name) for name in _COMPUTED}
        impossible = [why.format(what=name) for name in groups or () if name in _COMPUTED]
        if impossible:
            raise InputError(impossible)
    along = with_data_axes(
        plates, found["posterior"], found["observed_data"], found.get("constant_data", {})
    )
    if groups is not None:
        found = {name: members for name, members in found.items() if name in groups}
    attributes = {
        "trust": record.trust,
        "guide": record.guide.name,
        "seed": record.seed,
        "draws": DRAWS_ARE.format(source=DRAWS[pool.source]),
        "draws_from": pool.source,
        **{f"{k}_version": v for k, v in record.versions.items()},
        **({"left_out": left_out} if left_out else {}),
    }
    return for_installed(to_arviz(found, attributes, dims, coords, along))


def _call_of(record: Record, target: Target | None) -> "_Call | PymcGroups | None":
    """Return what computes groups; None for a log density, and for a fit without its model."""
    if target is None:
        return None
    if isinstance(target.program, PymcProgram):
        return PymcGroups(record, target, target.program)
    return None if model_of(target) is None else _Call(record, target)


class _Call:
    """The computed groups of a fit whose model and data are at hand."""

    coords: Mapping[str, Any] = {}

    def __init__(self, record: Record, target: Target):
        self._record = record
        self._program = target.program
        model, arguments = bound_call(target)
        self._target = target
        self._model: Callable = model
        self._simulator: Simulator = simulator_of(model)
        self._arguments: Arguments = arguments
        self._dtype = np.dtype(record.dtype)
        self._outline, _ = self._simulator.outline(arguments)
        self.plates = dict(self._outline.dims)
        self._prior: dict[str, np.ndarray] | None = None

    def too_large(self, group: str) -> str | None:
        """Return why a group is not made unasked, None if it is small enough."""
        if group == "constant_data":
            return None
        draws = PRIOR_DRAWS if group.startswith("prior") else len(self._record.pool)
        observed = self._outline.observed
        names = set(self._outline.shapes) - observed if group == "prior" else observed
        numbers = sum(math.prod(self._outline.shapes[name]) for name in names)
        return too_large(group, numbers, draws, self._dtype.itemsize)

    def observed(self) -> dict[str, np.ndarray]:
        return self._simulator.observed(self._arguments, self._latents(), self._dtype)

    def posterior_predictive(self) -> dict[str, np.ndarray]:
        seed = (self._record.seed, 0, 1)
        latents = self._latents()
        made = self._simulator.draw(
            self._arguments, latents, len(self._record.pool), seed, self._dtype
        )
        return {name: value for name, value in made.items() if name in self._outline.observed}

    def log_likelihood(self) -> dict[str, np.ndarray]:
        return self._simulator.log_likelihood(self._arguments, self._latents(), self._dtype)

    def prior(self) -> dict[str, np.ndarray]:
        drawn = self._prior_draws()
        return {name: value for name, value in drawn.items() if name not in self._outline.observed}

    def prior_predictive(self) -> dict[str, np.ndarray]:
        drawn = self._prior_draws()
        return {name: value for name, value in drawn.items() if name in self._outline.observed}

    def constant_data(self) -> dict[str, np.ndarray]:
        """Return the arrays among the arguments that are not data of an observed site."""
        assert isinstance(self._program, ModelProgram)
        sources = [check.source for check in self._program.checks]
        seen = {source.index for source in sources if isinstance(source, Leaf)}
        leaves = zip(self._target.data_names, self._target.data, strict=True)
        arrays = {name: as_numbers(v) for i, (name, v) in enumerate(leaves) if i not in seen}
        held = zip(self._arguments.names, self._arguments.values, strict=True)
        static = set(self._arguments.static_arrays())
        arrays |= {name: as_numbers(value) for name, value in held if name in static}
        # An argument may have the name of a site: the site keeps it.
        return {f"{n}_data" if n in self._outline.shapes else n: v for n, v in arrays.items()}

    def _latents(self) -> dict[str, np.ndarray]:
        values = self._record.pool.values
        return {site.name: np.asarray(values[site.name]) for site in self._record.sites}

    def _prior_draws(self) -> dict[str, np.ndarray]:
        if self._prior is None:
            self._prior = self._simulator.draw(
                self._arguments, {}, PRIOR_DRAWS, (self._record.seed, 0, 2), self._dtype
            )
        return self._prior


def _sample_stats(record: Record) -> dict[str, np.ndarray]:
    """Return log densities on the latent space, and what each draw counts.

    Draws that were corrected, by chains or by resampling, count the same; draws as they came from
    the guide have their smoothed importance weights. A guide that knows the density of its own
    draws only has no log_q for corrected ones.
    """
    pool = record.pool
    weights = np.full(len(pool), 1.0 / len(pool))
    stats = {"log_p": pool.log_p, "weights": weights}
    if pool.source == "guide" and record.weighed is not None:
        log_q = record.weighed.log_q
    elif isinstance(record.guide, ProgramGuide) and record.guide.density is None:
        return stats
    else:
        log_q = record.guide.log_prob(pool.z)
    if pool.source == "guide":
        log_weights, _ = smooth(pool.log_p - log_q)
        stats["weights"] = np.exp(log_weights)
    return {**stats, "log_q": log_q}
