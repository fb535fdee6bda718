"""`Predictive`: draws of a program's sites, as NumPyro programs call it.

All draws are made in one compiled call. Inside it they are vectorised as far as a bound on memory
allows, one block after another.
"""

import copy
import functools
import math
import warnings
from collections.abc import Callable, Collection
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from numpyro import handlers

from taut._core.constants import own_constants
from taut._core.errors import InputError, did_you_mean, first_few
from taut._core.fingerprint import Watch, identity
from taut._core.precision import native_dtype
from taut._core.retraced import retraced
from taut._core.straight import straight
from taut._core.xla_options import OFTEN, cpu_options
from taut.infer.autoguide.guide import AutoGuide
from taut.infer.structure_key import structure_key
from taut.targets.abstract_run import run_abstractly
from taut.targets.arguments import Arguments, bind_arguments
from taut.targets.cost import count_operations
from taut.targets.target import ProgramStore

MEMORY = 256e6
"""Bytes that the temporaries of one block of draws may take."""

PROGRAMS_KEPT = 32

NO_ENUMERATION = (
    "infer_discrete=True is not supported: sum discrete sites out by hand and draw them in the "
    "model from their conditional probabilities"
)


class Predictive:
    """Draws from a prior, a guide, or a model given draws of its latents.

    Three ways: `Predictive(guide, params=params, num_samples=n)` draws from the guide;
    `Predictive(model, guide=guide, params=params, num_samples=n)` draws latents from the guide and
    runs the model on them; `Predictive(model, posterior_samples)` runs the model on given draws.
    Pass None for observed data when calling it, or the data come back.

    Args:
        model: the program to run.
        posterior_samples: draws of its sites, each with `batch_ndims` leading axes.
        guide: draws the latents, instead of `posterior_samples`.
        params: values of the `numpyro.param` sites.
        num_samples: how many draws, where no `posterior_samples` say so.
        return_sites: names of the sites to return; by default sample sites that were not given,
            and deterministic ones.
        infer_discrete: not supported.
        parallel: make all draws in one block, whatever memory that takes.
        batch_ndims: leading axes of `posterior_samples`, 1 by default. With a guide, 1 means that
            `params` have a leading axis: a batch of fits.
        condition_deterministic: take deterministic sites from the draws too, instead of computing
            them anew.
        exclude_deterministic: the opposite of `condition_deterministic`, its former name.

    Raises:
        InputError: the arguments contradict each other.
    """

    def __init__(
        self,
        model: Callable,
        posterior_samples: dict[str, Any] | None = None,
        *,
        guide: Callable | None = None,
        params: dict[str, Any] | None = None,
        num_samples: int | None = None,
        return_sites: Collection[str] | None = None,
        infer_discrete: bool = False,
        parallel: bool = False,
        batch_ndims: int | None = None,
        condition_deterministic: bool | None = None,
        exclude_deterministic: bool | None = None,
    ):
        if batch_ndims is None:
            batch_ndims = 1 if guide is None else 0
        given = posterior_samples or {}
        shapes = {tuple(np.shape(v)[:batch_ndims]) for v in given.values()}
        problems = []
        if infer_discrete:
            problems.append(NO_ENUMERATION)
        if posterior_samples is not None and guide is not None:
            problems.append("give posterior_samples or a guide that draws them, not both")
        if not given and num_samples is None:
            problems.append("num_samples is needed where no posterior_samples say how many draws")
        if len(shapes) > 1:
            lead = {n: tuple(np.shape(v)[:batch_ndims]) for n, v in given.items()}
            problems.append(f"posterior_samples must have the same leading axes; they have {lead}")
        if guide is not None and params and batch_ndims not in (0, 1):
            problems.append(
                f"batch_ndims must be 0 or 1 with a guide and params; got {batch_ndims}"
            )
        if isinstance(return_sites, str):
            problems.append(f"return_sites must be a list of names; write [{return_sites!r}]")
        if condition_deterministic is not None and exclude_deterministic is not None:
            problems.append(
                "give condition_deterministic only: exclude_deterministic is its opposite"
            )
        if problems:
            raise InputError(problems)
        if exclude_deterministic is not None:
            condition_deterministic = not exclude_deterministic
        if shapes:
            batch_shape = shapes.pop()
            count = math.prod(batch_shape)
            if num_samples not in (None, count):
                warnings.warn(
                    f"posterior_samples hold {count} draws; num_samples={num_samples} is not used",
                    stacklevel=2,
                )
            num_samples = count
        else:
            batch_shape = (*(1,) * (batch_ndims - 1), num_samples or 0)
        self.model = model
        self.posterior_samples = given
        self.guide = guide
        self.params = params or {}
        self.num_samples: int | None = num_samples
        self.return_sites = return_sites
        self.infer_discrete = infer_discrete
        self.parallel = parallel
        self.batch_ndims = batch_ndims
        self.condition_deterministic = bool(condition_deterministic)
        self._batch_shape: tuple[int, ...] = tuple(batch_shape)

    def __call__(self, rng_key: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Make the draws.

        Args:
            rng_key: a JAX random key.
            *args: arguments of the model (and the guide), None for what is to be predicted.
            **kwargs: their keyword arguments.

        Returns:
            For each site an array (*batch shape, *site shape), where the batch shape is
            (num_samples,) or the leading axes of `posterior_samples`. With a batch of params
            (num_samples, batch, *site shape).

        Raises:
            InputError: a program raised an error, or a site to return does not exist.
        """
        inputs = (rng_key, self.posterior_samples, self.params)
        leaves = jax.tree_util.tree_leaves((inputs, args, kwargs))
        if any(isinstance(leaf, Tracer) for leaf in leaves):
            return self._draw(*inputs, args, kwargs)
        arguments = bind_arguments(self.model, args, kwargs)
        given = bool(args or kwargs)
        key = (
            "predictive",
            identity(self.model),
            None if self.guide is None else identity(self.guide),
            native_dtype(),
        )
        functions: Any = (self.model, self.guide)
        family = _PROGRAMS.family(key, functions)
        arguments = arguments.hold_static(family.held)
        form = (arguments.key(), self._form(given))
        program = _PROGRAMS.find(key, form)
        if program is None:
            program, arguments, held = self._read(arguments, family.watch)
            family.held = (*family.held, *held)
            _PROGRAMS.keep(key, (arguments.key(), self._form(given)), program)
        return program(*inputs, arguments.leaves)

    def _form(self, given: bool) -> Any:
        sites = self.return_sites
        options = (self._batch_shape, self.parallel, self.batch_ndims, self.condition_deterministic)
        leaves, structure = jax.tree.flatten(self._values())
        shapes = tuple((np.shape(v), str(jnp.result_type(v))) for v in leaves)
        guides = (p for p in (self.model, self.guide) if isinstance(p, AutoGuide))
        own = [guide.depends_on(given) for guide in guides]
        key = structure_key((options, None if sites is None else tuple(sites), own))
        return key, shapes, structure

    def _without_values(self) -> "Predictive":
        """Return the same without draws and params, to be kept without keeping these in memory."""
        other = copy.copy(self)
        other.posterior_samples, other.params = {}, {}
        return other

    def _values(self) -> tuple[dict[str, Any], dict[str, Any]]:
        return self.posterior_samples, self.params

    def _read(
        self, arguments: Arguments, watch: Watch
    ) -> tuple["_PredictiveProgram", Arguments, tuple[str, ...]]:
        def read(args: tuple, kwargs: dict, _: list[Any]) -> None:
            key = jax.random.key(0)
            jax.eval_shape(
                functools.partial(self._draw, args=args, kwargs=kwargs), key, *self._values()
            )

        _, arguments, held, _ = run_abstractly(self.model, arguments, watch, read)
        return _PredictiveProgram(self, arguments, watch), arguments, held

    def _draw(
        self, key: Any, samples: dict, params: dict, args: tuple, kwargs: dict
    ) -> dict[str, Any]:
        if self.guide is None or self.batch_ndims == 0 or not params:
            return self._draw_one_fit(key, samples, params, args, kwargs)
        fits = jnp.shape(jax.tree_util.tree_leaves(params)[0])[0]

        def one(key: Any, params: dict) -> dict[str, Any]:
            return self._draw_one_fit(key, samples, params, args, kwargs)

        return jax.vmap(one, out_axes=1)(jax.random.split(key, fits), params)

    def _draw_one_fit(
        self, key: Any, samples: dict, params: dict, args: tuple, kwargs: dict
    ) -> dict[str, Any]:
        if self.guide is not None:
            key, guide_key = jax.random.split(key)
            samples = self._run(self.guide, guide_key, samples, params, args, kwargs, _all_sites)
        return self._run(self.model, key, samples, params, args, kwargs, self._chosen)

    def _run(
        self,
        program: Callable,
        key: Any,
        samples: dict,
        params: dict,
        args: tuple,
        kwargs: dict,
        choose: Callable[[dict, dict], list[str]],
    ) -> dict[str, Any]:
        # Nothing needs a log probability, so a model may skip costly factors.
        masked = handlers.mask(handlers.substitute(program, data=params), mask=False)
        shape = self._batch_shape
        count = math.prod(shape)
        keys = jax.random.split(key, count) if count > 1 else key[None]

        # Factors have values without numbers, which `lax.map` cannot put together.
        empty: dict[str, tuple[int, ...]] = {}

        def one(row: tuple[Any, dict]) -> dict[str, Any]:
            key, values = row

            def given(site: dict) -> Any:
                if site["type"] == "deterministic" and not self.condition_deterministic:
                    return None
                return values.get(site["name"])

            seeded = handlers.seed(handlers.substitute(masked, substitute_fn=given), rng_seed=key)
            trace = handlers.trace(seeded).get_trace(*args, **kwargs)
            found = {name: trace[name]["value"] for name in choose(trace, values)}
            arrays = {n: v for n, v in found.items() if trace[n]["type"] != "param"}
            empty.update({n: jnp.shape(v) for n, v in arrays.items() if jnp.size(v) == 0})
            return {n: v for n, v in found.items() if n not in empty}

        flat = jax.tree.map(lambda v: jnp.reshape(v, (count, *jnp.shape(v)[len(shape) :])), samples)
        rows = (keys, flat)
        block = count if self.parallel else _block(one, rows, count)
        drawn = jax.lax.map(retraced(one, straight), rows, batch_size=block)
        drawn |= {n: jnp.zeros((count, *size)) for n, size in empty.items()}
        return jax.tree.map(lambda v: jnp.reshape(v, (*shape, *jnp.shape(v)[1:])), drawn)

    def _chosen(self, trace: dict, values: dict) -> list[str]:
        if self.return_sites is not None:
            unknown = [n for n in self.return_sites if n not in trace]
            if unknown:
                raise InputError(
                    [
                        f"return_sites has {n!r}, which is no site of the program"
                        f"{did_you_mean(n, trace)}"
                        for n in unknown
                    ]
                )
            return list(self.return_sites)
        new = [n for n, s in trace.items() if s["type"] == "sample" and n not in values]
        _warn_of_data([trace[n] for n in new])
        return [n for n, s in trace.items() if n in new or s["type"] == "deterministic"]


class _PredictiveProgram:
    """The compiled draws for arguments of one structure."""

    def __init__(self, predictive: Predictive, arguments: Arguments, watch: Watch):
        self.watch = watch
        rebuild = arguments.without_data().rebuild
        predictive = predictive._without_values()

        def draw(key: Any, samples: dict, params: dict, leaves: tuple) -> dict[str, Any]:
            args, kwargs = rebuild(leaves)
            with watch.running(), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # said when the programs were read
                return predictive._draw(key, samples, params, args, kwargs)

        self._draw = jax.jit(own_constants(draw), compiler_options=cpu_options(OFTEN))

    def __call__(self, key: Any, samples: dict, params: dict, leaves: tuple) -> dict[str, Any]:
        return self._draw(key, samples, params, leaves)


def _all_sites(trace: dict, _: dict) -> list[str]:
    return [n for n, s in trace.items() if s["type"] != "plate"]


def _block(function: Callable, rows: Any, count: int) -> int:
    """Return how many draws to make together."""
    row = jax.tree.map(lambda v: jax.ShapeDtypeStruct(v.shape[1:], v.dtype), rows)
    elements = count_operations(jax.make_jaxpr(function)(row).jaxpr)
    size = native_dtype().itemsize
    return int(np.clip(MEMORY / max(1.0, elements * size), 1, count))


def _warn_of_data(sites: list[dict]) -> None:
    data = [s["name"] for s in sites if s["is_observed"] and jnp.size(s["value"]) > 0]
    if data and all(s["is_observed"] for s in sites):
        warnings.warn(
            f"every site to predict has data: {first_few(data)}; the draws are those data. Pass "
            "None for the observed argument to draw it",
            stacklevel=2,
        )


_PROGRAMS = ProgramStore(PROGRAMS_KEPT)
