"""What all autoguides share: reading the model, starting points, and draws of its sites.

An autoguide is a NumPyro program made from a model. It keeps no data and no shapes of one data set
as its own: what it knows of the model is kept apart for each structure of arguments, and read anew
when something the model's function reads has changed. The arguments of the latest fit are
remembered, so that medians, quantiles and draws can be asked for without giving them again. Which
sites had data there is remembered too: left out later, these data are for the model to predict.
"""

import abc
import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import lax, random
from jax.core import Tracer
from numpyro.infer.initialization import init_to_uniform

from taut._core.constants import own_constants
from taut._core.errors import InputError, did_you_mean, first_few
from taut._core.fingerprint import Learner, Watch
from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.start import MOST_TRIES, Candidates, Start, find_start
from taut.infer.autoguide.structure import Structure, read_structure, warn_of_circles
from taut.targets.arguments import bind_arguments

# Draws made into named values at once: bounds the memory that deterministic sites take.
CHUNK = 512

# Draws behind medians, quantiles and covariances without a closed form.
SUMMARY_DRAWS = 20_000

NO_ARGUMENTS = (
    "the guide has not been called with arrays yet, so it has no data to make the model's sites "
    "with; pass the model's arguments, as in guide.median(params, x, y=y), or call "
    "guide.setup(x, y=y) once"
)

NEEDS_DATA = (
    "{guide} follows the density of the model with its data, and was called without those of "
    "{names}; pass them, or call guide.setup(...) with the arguments of the fit once"
)


class AutoGuide(Learner):
    """A guide made from a model.

    Args:
        model: a NumPyro model.
        prefix: put before the names of params and auxiliary sites.
        init_loc_fn: where to start; a strategy of `numpyro.infer.initialization`.
        create_plates: makes the subsampled plates from the model's arguments; those that it does
            not make are made as the model makes them.
        forward_mode_differentiation: taken for the sake of programs that give it; a starting point
            is found without differentiating the model.

    Attributes:
        needs_data: whether draws depend on the data, not on the params alone.
    """

    needs_data = False

    def __init__(
        self,
        model: Callable,
        *,
        prefix: str = "auto",
        init_loc_fn: Callable = init_to_uniform,
        create_plates: Callable | None = None,
        forward_mode_differentiation: bool = False,
    ):
        if not callable(model):
            raise InputError(
                "an autoguide is made from a function with numpyro.sample statements; got "
                f"{type(model).__name__}"
            )
        self.model = model
        self.prefix = prefix
        self.init_loc_fn = init_loc_fn
        self.create_plates = create_plates
        self.forward_mode_differentiation = forward_mode_differentiation
        self._remembered: tuple[tuple, dict] | None = None
        self._set_up = False
        # What those arguments make of the model; known of arguments that were traced, too.
        self._fitted: Structure | None = None
        self._forget()

    def options(self) -> dict[str, Any]:
        """Return all that makes this guide what it is; nothing that it has learned of data."""
        state = self.__getstate__()
        for name in ("_remembered", "_set_up", "_fitted"):
            state.pop(name)
        return state

    def __getstate__(self) -> dict:
        state = self.__dict__.copy()
        for name in ("_watch", "_changes", "_held", "_structures", "_compiled"):
            state.pop(name)
        return state

    def __setstate__(self, state: dict) -> None:
        for name, value in state.items():
            setattr(self, name, value)
        self._forget()

    @abc.abstractmethod
    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the guide as a NumPyro program.

        Args:
            *args: the model's arguments.
            **kwargs: the model's keyword arguments.

        Returns:
            The value of each latent site of the model.
        """

    @abc.abstractmethod
    def sample_posterior(
        self, rng_key: Any, params: dict, *args: Any, sample_shape: tuple = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Draw from the guide.

        Args:
            rng_key: a random key.
            params: the fitted parameters, as `svi.get_params` or `result.params` give them.
            *args: the model's arguments; those of the latest fit by default.
            sample_shape: shape of the leading axes.
            **kwargs: the model's keyword arguments.

        Returns:
            Latent and deterministic sites, in the model's own coordinates, each of shape
            (*sample_shape, *site shape).
        """

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Read the model and remember these arguments for later draws, medians and quantiles.

        `SVI` does this in `init`, `run` and `update`; so does a call of the guide with all data
        before any of them, unless its arguments are being traced. Called without some of the data
        that are remembered, the guide leaves the sites that had them to the model.
        """
        self._fitted = self._read(args, kwargs).structure
        self._remembered, self._set_up = (args, kwargs), True

    @property
    def remembers(self) -> bool:
        """Whether draws can be made without giving the model's arguments."""
        return self._remembered is not None

    def depends_on(self, given: bool) -> Any:
        """Return what the draws of a call depend on besides its arguments and the params.

        Args:
            given: whether it has arguments.
        """
        fitted = self._fitted
        names = fitted and (fitted.names, fitted.observed)
        return names, None if given and not self.needs_data else self._remembered

    def median(self, params: dict, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the median of each latent and deterministic site under the guide."""
        return self.quantiles(params, 0.5, *args, **kwargs)

    def quantiles(self, params: dict, quantiles: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return quantiles of each site under the guide.

        Where the class does not say otherwise they are those of 20,000 draws.

        Args:
            params: the fitted parameters.
            quantiles: one number between 0 and 1, or an array of them.
            *args: the model's arguments; those of the latest fit by default.
            **kwargs: the model's keyword arguments.

        Returns:
            For each site an array of shape (*quantiles shape, *site shape).
        """
        levels = jnp.asarray(quantiles)
        draws = self._summary_draws(params, args, kwargs)
        return {name: jnp.quantile(value, levels, axis=0) for name, value in draws.items()}

    def covariance(self, params: dict, *names: str) -> Any:
        """Return the covariance of sites under the guide, in the model's own coordinates.

        It is exact where the guide is Gaussian and the sites are unbounded; otherwise it is that of
        20,000 draws, with a relative error of about one part in a hundred.

        Args:
            params: the fitted parameters.
            *names: latent or deterministic sites; all latent sites by default.

        Returns:
            A matrix with a row for each number of the named sites, in that order.
        """
        draws = self._summary_draws(params, (), {})
        names = names or self._recall((), {}).structure.names
        self._check_names(names, draws)
        flat = jnp.concatenate([draws[n].reshape(SUMMARY_DRAWS, -1) for n in names], axis=1)
        return jnp.atleast_2d(jnp.cov(flat, rowvar=False))

    def _summary_draws(self, params: dict, args: tuple, kwargs: dict) -> dict[str, Any]:
        shape = (SUMMARY_DRAWS,)
        return self.sample_posterior(random.key(0), params, *args, sample_shape=shape, **kwargs)

    @staticmethod
    def _check_names(names: Iterable[str], known: Iterable[str]) -> None:
        known = list(known)
        unknown = [n for n in names if n not in known]
        if unknown:
            raise InputError([f"unknown site {n!r}{did_you_mean(n, known)}" for n in unknown])

    def _read(self, args: tuple, kwargs: dict) -> BoundModel:
        """Read the model for these arguments.

        Raises:
            InputError: the guide cannot be one for it.
        """
        if self._watch.changes() != self._changes:
            self._forget()
        arguments = bind_arguments(self.model, args, kwargs)
        outer_key = arguments.key()
        arguments = arguments.hold_static(self._held.get(outer_key, ()))
        key = arguments.key()
        if key not in self._structures:
            # Reading runs the function, which may change what it reads: a counter of calls, say.
            with self._watch.running():
                structure, arguments = read_structure(self.model, arguments)
            warn_of_circles(structure)
            self._held[outer_key] = arguments.static_arrays()
            key = arguments.key()
            self._structures[key] = structure
        return BoundModel(self.model, arguments, self._structures[key])

    def _bind(self, args: tuple, kwargs: dict) -> BoundModel:
        """Read the model for these arguments, without latents that had data in the fit."""
        bound, fitted = self._read(args, kwargs), self._fitted
        if fitted is not None:
            structure = bound.structure.without_predictions(fitted)
            if structure.predicted:
                return dataclasses.replace(bound, structure=structure)
        if self._set_up and not bound.traced:
            return bound  # a call says nothing of what the guide was fitted to
        if not bound.traced:
            self._remembered = args, kwargs
        if not bound.traced or fitted is None or bound.structure.names != fitted.names:
            self._fitted = bound.structure
        return bound

    def _chosen(self, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        """Return the arguments given, or those remembered when there are none."""
        if args or kwargs or self._remembered is None:
            return args, kwargs
        return self._remembered

    def _recall(self, args: tuple, kwargs: dict) -> BoundModel:
        """Bind the arguments given, or those remembered when there are none."""
        args, kwargs = self._chosen(args, kwargs)
        if args or kwargs or self._remembered is not None:
            return self._bind(args, kwargs)
        try:
            return self._bind((), {})
        except InputError:
            raise InputError(NO_ARGUMENTS) from None

    def _with_data(self, bound: BoundModel) -> BoundModel:
        """Return a model with its data: those of the fit where some are left out."""
        return self._read(*self._of_fit(bound)) if bound.structure.predicted else bound

    def _of_fit(self, bound: BoundModel) -> tuple[tuple, dict]:
        """Return the arguments of the latest fit, for a model without some of its data."""
        if self._remembered is None or not self._set_up:
            # What a call happened to be made with need not be what was fitted to.
            names = first_few(bound.structure.predicted)
            raise InputError(NEEDS_DATA.format(guide=type(self).__name__, names=names))
        return self._remembered

    def _start(self, bound: BoundModel) -> Start:
        return Start(lambda key: self._find_start(bound, key), bound.structure)

    def _find_start(self, bound: BoundModel, key: Any) -> dict[str, Any]:
        candidates = Candidates(self.init_loc_fn)
        if bound.traced or isinstance(key, Tracer):
            return find_start(bound, candidates, key)
        empty, leaves = bound.without_data(), bound.arguments.leaves
        form = bound.arguments.key()
        density = self._compile(
            ("density", form),
            lambda parts, given, leaves: empty.with_data(leaves).log_density(parts, given),
        )
        choose = self._compile(
            ("choose", form),
            lambda key, given, leaves: candidates.choose(empty.with_data(leaves), key, given),
        )
        # Uniform draws compile nothing; what another strategy does is compiled once.
        draws = candidates.uniform(bound.structure)
        given = {} if draws else candidates.params(bound, key)
        parts: dict[str, Any] = {}
        for _ in range(MOST_TRIES):
            if draws:
                parts, key = candidates.draw(bound.structure, key)
            else:
                parts, key = choose(key, given, leaves)
            if np.isfinite(density(parts, given, leaves)):
                return parts
        raise InputError(
            [
                f"no starting point was found in {MOST_TRIES} tries at which the model's log "
                "density is finite; try another init_loc_fn. At the last point:",
                *bound.explain(parts),
            ]
        )

    def _constrain(
        self,
        bound: BoundModel,
        parts: Mapping[str, Any],
        lead: tuple,
        params: dict,
        whole: bool = False,
    ) -> dict[str, Any]:
        """Return the sites' values at unconstrained images with leading axes `lead`.

        Args:
            bound: the model.
            parts: the images, each of shape (*lead, *latent shape).
            lead: their leading axes.
            params: the fitted parameters.
            whole: whether subsampled plates are at their full size.
        """
        empty = bound.without_data()

        def run(parts: dict, given: dict, leaves: Any) -> dict[str, Any]:
            filled = empty.with_data(leaves)
            return lax.map(lambda part: filled.values(part, given, whole), parts, batch_size=CHUNK)

        count = int(np.prod(lead, dtype=int))
        flat = {n: jnp.reshape(v, (count, *jnp.shape(v)[len(lead) :])) for n, v in parts.items()}
        given = self._model_params(bound.structure, params)
        values = self._compile(("values", bound.arguments.key(), tuple(parts), whole), run)(
            flat, given, bound.arguments.leaves
        )
        return {n: jnp.reshape(v, (*lead, *jnp.shape(v)[1:])) for n, v in values.items()}

    def _model_params(self, structure: Structure, params: dict) -> dict[str, Any]:
        return {name: params[name] for name in structure.params if name in params}

    def _compile(self, key: Hashable, run: Callable) -> Callable:
        """Return `run` compiled, the one kept under this key if there is one."""
        return self._compiled.setdefault(key, jax.jit(own_constants(run)))

    def _plates(self, bound: BoundModel, args: tuple, kwargs: dict) -> dict[str, Any]:
        """Make the plates around latent sites, by name."""
        made = self.create_plates(*args, **kwargs) if self.create_plates else ()
        made = (made,) if isinstance(made, numpyro.plate) else tuple(made)
        wrong = [type(p).__name__ for p in made if not isinstance(p, numpyro.plate)]
        if wrong:
            raise InputError(f"create_plates must return plates; got {', '.join(wrong)}")
        plates = {plate.name: plate for plate in made}
        for name, frame in sorted(bound.structure.frames().items()):
            if name not in plates:
                plates[name] = numpyro.plate(
                    name, frame.full_size, dim=frame.dim, subsample_size=frame.size
                )
        return plates

    def _given(self, params: Mapping[str, Any]) -> Callable[[dict], Any]:
        """Return a substitution of params by name, which insists on each."""

        def choose(site: dict) -> Any:
            return self._lookup(params, site["name"]) if site["type"] == "param" else None

        return choose

    @staticmethod
    def _lookup(params: Mapping[str, Any], name: str) -> Any:
        if name not in params:
            near = did_you_mean(name, params)
            raise InputError(f"params have no {name!r}{near}; they have {first_few([*params])}")
        return params[name]

    def _forget(self) -> None:
        self._watch = Watch(self.model)
        self._changes = self._watch.changes()
        self._held: dict[Hashable, tuple[str, ...]] = {}
        self._structures: dict[Hashable, Structure] = {}
        self._compiled: dict[Hashable, Callable] = {}
