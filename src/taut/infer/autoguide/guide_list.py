"""`AutoGuideList`: several guides, each for some of the model's sites."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from jax import lax, random
from numpyro import handlers
from numpyro.primitives import Messenger

from taut._core.errors import InputError
from taut.infer.autoguide.bound_model import BoundModel
from taut.infer.autoguide.dais import AutoDAIS
from taut.infer.autoguide.guide import CHUNK, SUMMARY_DRAWS, AutoGuide
from taut.infer.autoguide.latent_vector import AutoLatentVector
from taut.infer.autoguide.semi_dais import AutoSemiDAIS


class AutoGuideList(AutoGuide):
    """Several guides, each for some of the model's sites.

    A part is an autoguide of the model with the other sites hidden, as in
    `AutoNormal(handlers.block(model, hide=["x"]))`, or a guide function. All parts see the same
    subsamples.

    Args:
        model: a NumPyro model.
        **options: what `AutoGuide` takes.
    """

    def __init__(self, model: Callable, **options: Any):
        super().__init__(model, **options)
        self._parts: list[Callable] = []

    def __getstate__(self) -> dict:
        # A copy must not gain the parts that this one is given later.
        return {**super().__getstate__(), "_parts": list(self._parts)}

    def append(self, part: Callable) -> None:
        """Add a guide for some of the sites.

        Raises:
            InputError: the part follows the gradient of the whole model, or shares the names of
                its params with another.
        """
        if isinstance(part, (AutoDAIS, AutoSemiDAIS)):
            raise InputError(
                f"{type(part).__name__} cannot be part of a list: it follows the gradient of the "
                "whole model's density, and a part sees only some of its sites"
            )
        if isinstance(part, AutoLatentVector):
            for i, other in enumerate(self._parts):
                if isinstance(other, AutoLatentVector) and other.prefix == part.prefix:
                    raise InputError(
                        f"parts {i} and {len(self._parts)} would both call their latent vector "
                        f"'_{part.prefix}_latent'; give one of them another prefix="
                    )
        self._parts.append(part)

    def __getitem__(self, index: int) -> Callable:
        return self._parts[index]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Callable]:
        return iter(self._parts)

    def setup(self, *args: Any, **kwargs: Any) -> None:
        """Read the model, and those of the parts, and remember these arguments for later draws."""
        super().setup(*args, **kwargs)
        for part in self._parts:
            if isinstance(part, AutoGuide):
                part.setup(*args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the guides as one NumPyro program.

        Raises:
            InputError: a site is in no part, or in several.
        """
        args, kwargs = self._chosen(args, kwargs)
        bound = self._bind(args, kwargs)
        plates = self._plates(bound, args, kwargs)
        indices = {name: plate._indices for name, plate in plates.items()}
        result: dict[str, Any] = {}
        problems = []
        with handlers.substitute(data=indices):
            for i, part in enumerate(self._parts):
                with _LaterKey() if i == 0 else contextlib.nullcontext():
                    values = _run_part(part, args, kwargs)
                twice = [name for name in values if name in result]
                problems += [f"site {name!r} is in more than one part" for name in twice]
                result.update(values)
        names = [latent.name for latent in bound.structure.latents]
        problems += [f"site {n!r} is in no part of the guide" for n in names if n not in result]
        if problems:
            raise InputError(problems)
        return result

    def sample_posterior(
        self, rng_key: Any, params: dict, *args: Any, sample_shape: tuple = (), **kwargs: Any
    ) -> dict[str, Any]:
        """Draw from all parts."""
        bound = self._recall(args, kwargs)
        lead = tuple(sample_shape)
        values = {}
        for part, key in zip(self._parts, random.split(rng_key, len(self)), strict=True):
            values.update(self._draw_part(part, key, params, args, kwargs, lead))
        return self._with_deterministics(bound, values, lead, params)

    def median(self, params: dict, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the median of each latent site, and deterministic sites at these medians."""
        bound = self._recall(args, kwargs)
        of_level = self._summaries(params, jnp.array([0.5]), args, kwargs)
        values = {name: value[0] for name, value in of_level.items()}
        return self._with_deterministics(bound, values, (), params)

    def quantiles(self, params: dict, quantiles: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return quantiles of each latent site, as its part gives them.

        Args:
            params: the fitted parameters.
            quantiles: one number between 0 and 1, or an array of them.
            *args: the model's arguments; those of the latest fit by default.
            **kwargs: the model's keyword arguments.

        Returns:
            For each site an array of shape (*quantiles shape, *site shape); of one number some
            parts, as in NumPyro, give the shape (1, *site shape).
        """
        return self._summaries(params, quantiles, args, kwargs)

    def _summaries(self, params: dict, levels: Any, args: tuple, kwargs: dict) -> dict[str, Any]:
        values = {}
        for part in self._parts:
            if isinstance(part, AutoGuide):
                found = part.quantiles(params, levels, *args, **kwargs)
                values.update({name: found[name] for name in _own(part, args, kwargs)})
            else:
                shape = (SUMMARY_DRAWS,)
                draws = self._draw_part(part, random.key(0), params, args, kwargs, shape)
                levels = jnp.asarray(levels)
                values.update({n: jnp.quantile(v, levels, axis=0) for n, v in draws.items()})
        return values

    def _draw_part(
        self, part: Callable, key: Any, params: dict, args: tuple, kwargs: dict, lead: tuple
    ) -> dict[str, Any]:
        if isinstance(part, AutoGuide):
            draws = part.sample_posterior(key, params, *args, sample_shape=lead, **kwargs)
            return {name: draws[name] for name in _own(part, args, kwargs)}
        args, kwargs = self._chosen(args, kwargs)

        def draw(key: Any) -> dict[str, Any]:
            with handlers.block(), handlers.seed(rng_seed=key), handlers.substitute(data=params):
                return _run_part(part, args, kwargs)

        keys = random.split(key, int(np.prod(lead, dtype=int)))
        draws = lax.map(draw, keys, batch_size=CHUNK)
        return {n: jnp.reshape(v, (*lead, *jnp.shape(v)[1:])) for n, v in draws.items()}

    def _with_deterministics(
        self, bound: BoundModel, values: dict[str, Any], lead: tuple, params: dict
    ) -> dict[str, Any]:
        empty = bound.without_data()

        def run(values: dict, given: dict, leaves: Any) -> dict[str, Any]:
            filled = empty.with_data(leaves)
            return lax.map(
                lambda draw: filled.deterministics(draw, given, whole=True),
                values,
                batch_size=CHUNK,
            )

        count = int(np.prod(lead, dtype=int))
        flat = {n: jnp.reshape(v, (count, *jnp.shape(v)[len(lead) :])) for n, v in values.items()}
        run = self._compile(("deterministics", bound.arguments.key()), run)
        more = run(flat, self._model_params(bound.structure, params), bound.arguments.leaves)
        return values | jax.tree.map(lambda v: jnp.reshape(v, (*lead, *v.shape[1:])), more)


class _LaterKey(Messenger):
    """Starts the first param from the key after its own: NumPyro's list takes one for itself."""

    def __init__(self):
        super().__init__()
        self._done = False

    def process_message(self, msg: dict) -> None:
        """Pass one key over where the param is made, which is before the first step only."""
        if msg["type"] != "param" or self._done or msg["args"]:
            return
        self._done, start = True, msg["fn"]

        def later(*args: Any, **kwargs: Any) -> Any:
            numpyro.prng_key()
            return start(*args, **kwargs)

        msg["fn"] = later


def _run_part(part: Callable, args: tuple, kwargs: dict) -> dict[str, Any]:
    with handlers.trace() as trace:
        part(*args, **kwargs)
    return {
        name: site["value"]
        for name, site in trace.items()
        if site["type"] == "sample"
        and not site["is_observed"]
        and not site["infer"].get("is_auxiliary")
    }


def _own(part: AutoGuide, args: tuple, kwargs: dict) -> list[str]:
    return [latent.name for latent in part._recall(args, kwargs).structure.latents]
