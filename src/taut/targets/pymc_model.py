"""A PyMC model as a log density on R^dim, through PyMC's own JAX graph.

PyMC transforms its variables to the real line itself, so the latent vector is made of its value
variables, and the Jacobian terms are in its log density. Only this module knows PyMC, and only what
is called with a PyMC model imports it.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from taut._core.errors import InputError, MissingExtraError, first_few
from taut._core.fingerprint import Identity, Watch
from taut._core.precision import native_dtype, precision_of
from taut.targets.program import Program, Site

EXTRA = "pymc"
DOUBLE = np.dtype(np.float64)


def is_pymc_model(model: Any) -> bool:
    """Return whether something is a PyMC model, without importing PyMC for those that are not."""
    pymc = sys.modules.get("pymc")
    return pymc is not None and isinstance(model, pymc.Model)


class PymcProgram(Program):
    """The program of a PyMC model; its `pm.Data` are the data leaves.

    It computes in double precision, as PyMC does.

    Args:
        model: a `pm.Model` that `pymc_problems` finds nothing wrong with.
        watch: what would notice changes in what a function reads.

    Attributes:
        model: the model.
        fitted_coords: coordinate values when it was read, by axis name.
        fitted_data: its constant data then, by name.
    """

    dtype = DOUBLE
    libraries = ("pymc", "pytensor")

    def __init__(self, model: Any, watch: Watch):
        self.model = model
        self._graphs = _Graphs(model)
        self.sites = tuple(self._describe_sites())
        self.deterministics = tuple(
            v.name for v in model.deterministics if v.name not in model.rvs_to_values
        )
        self.notes = ()
        self.watch = watch
        self.fitted_coords, self.fitted_data = self.coords, self.constant_data()
        free = model.free_RVs
        named = [v for v in model.deterministics if v.name in self.deterministics]
        self._log_density = self._graphs.jaxified([model.logp()])
        self.function = self._log_density
        self._values = self._graphs.jaxified(model.replace_rvs_by_values([*free, *named]))

    @property
    def dims(self) -> dict[str, tuple[str | None, ...]]:
        """Names of the axes of all variables and data that have some."""
        return {name: tuple(dims) for name, dims in self.model.named_vars_to_dims.items()}

    @property
    def coords(self) -> dict[str, Any]:
        """Coordinate values, by axis name."""
        named = self.model.coords
        return {name: np.asarray(values) for name, values in named.items() if values is not None}

    def log_density(self, leaves: Sequence[Any], z: Any) -> Any:
        """Log density at one latent vector (dim,), Jacobian terms included; a scalar."""
        (value,) = self._log_density(*self._take(z), *leaves)
        return value

    def constrain(self, leaves: Sequence[Any], z: Any) -> dict[str, Any]:
        """Free variables and deterministic values at one latent vector (dim,)."""
        names = (*(site.name for site in self.sites), *self.deterministics)
        return dict(zip(names, self._values(*self._take(z), *leaves), strict=True))

    def unconstrain(self, leaves: Sequence[Any], values: dict[str, Any]) -> tuple[Any, Any]:
        """Latent vector (dim,) of given values, and log|det d values / d z|."""
        parts = self._graphs.forward()(*(values[site.name] for site in self.sites), *leaves)
        z = jnp.concatenate([jnp.reshape(part, -1) for part in parts])
        return z, self.log_density(leaves, z) - self._log_joint(leaves, z)

    def log_joint(self, leaves: Sequence[Any], values: dict[str, Any]) -> Any:
        """Log joint density in the model's own coordinates, without Jacobian terms."""
        return self._log_joint(leaves, self.unconstrain(leaves, values)[0])

    def log_likelihood(self, leaves: Sequence[Any], z: Any) -> dict[str, Any]:
        """Log likelihood of each observation at one latent vector (dim,), by observed variable."""
        names = [v.name for v in self.model.observed_RVs]
        terms = self._graphs.log_likelihood()(*self._take(z), *leaves)
        return dict(zip(names, terms, strict=True))

    def log_likelihood_one_by_one(self, z: np.ndarray) -> dict[str, np.ndarray]:
        """Return log likelihoods at latent vectors (n, dim) by PyMC's own compiled function.

        Slower, and for any graph: JAX cannot index by a mask, as a model with missing data does.
        """
        model = self.model
        terms = model.logp(model.observed_RVs, sum=False)
        run = model.compile_fn(terms, inputs=model.value_vars, on_unused_input="ignore")
        names = [variable.name for variable in model.value_vars]
        rows = [run(dict(zip(names, self._take(row), strict=True))) for row in z]
        columns = zip(*rows, strict=True)
        named = zip((v.name for v in model.observed_RVs), columns, strict=True)
        return {name: np.stack(values) for name, values in named}

    def observed(self, leaves: Sequence[Any]) -> dict[str, Any]:
        """Return the data of the observed variables, by name."""
        given = dict(zip(self._graphs.data, leaves, strict=True))
        return {
            v.name: np.asarray(_value_of(self.model.rvs_to_values[v], given))
            for v in self.model.observed_RVs
        }

    def constant_data(self) -> dict[str, np.ndarray]:
        """Return what is `pm.Data` and not observed, by name."""
        observed = {self.model.rvs_to_values[v] for v in self.model.observed_RVs}
        return {
            v.name: np.asarray(v.get_value()) for v in self.model.data_vars if v not in observed
        }

    def diagnose(self, leaves: Sequence[Any], z: np.ndarray) -> list[str]:
        """Say which variables have a log probability that is not finite at a latent vector."""
        names = [v.name for v in (*self.model.basic_RVs, *self.model.potentials)]
        terms = self._graphs.every_term()(*self._take(jnp.asarray(z)), *leaves)
        bad = [n for n, t in zip(names, terms, strict=True) if not np.isfinite(t).all()]
        return [f"variable {name!r} has a log probability that is not finite" for name in bad]

    def _log_joint(self, leaves: Sequence[Any], z: Any) -> Any:
        (value,) = self._graphs.without_jacobian()(*self._take(z), *leaves)
        return value

    def _take(self, z: Any) -> list[Any]:
        return [site.take(z) for site in self.sites]

    def _describe_sites(self) -> list[Site]:
        model = self.model
        start, shapes = model.initial_point(), model.eval_rv_shapes()
        sites: list[Site] = []
        for variable in model.free_RVs:
            offset = sites[-1].offset + sites[-1].size if sites else 0
            shape = tuple(int(n) for n in shapes[variable.name])
            inner = tuple(np.shape(start[model.rvs_to_values[variable].name]))
            dims = tuple(model.named_vars_to_dims.get(variable.name) or (None,) * len(shape))
            transform = model.rvs_to_transforms.get(variable)
            support = "real" if transform is None else transform.name
            sites.append(Site(variable.name, shape, inner, offset, dims, support))
        return sites


class _Graphs:
    """The graphs of a model as JAX functions of its value variables and its data, in that order.

    Args:
        model: a `pm.Model`.

    Attributes:
        data: the `pm.Data` that can change without compiling anew.
    """

    def __init__(self, model: Any):
        from pytensor.tensor.type import tensor

        self._model = model
        start = model.initial_point()
        self._shapes = {v: np.shape(start[v.name]) for v in model.value_vars}
        self.data = data_of(model)
        self._shapes |= {v: np.shape(v.get_value(borrow=True)) for v in self.data}
        # JAX needs to know shapes that PyMC leaves open.
        self._inputs = {
            v: tensor(f"{v.name}_", dtype=v.dtype, shape=shape) for v, shape in self._shapes.items()
        }
        self._made: dict[str, Callable] = {}

    def jaxified(self, outputs: Sequence[Any]) -> Callable:
        """Return graphs of the value variables as one JAX function."""
        return _jaxify(outputs, self._inputs)

    def without_jacobian(self) -> Callable:
        """Return the log joint density in the model's own coordinates."""
        return self._once("joint", lambda: self.jaxified([self._model.logp(jacobian=False)]))

    def log_likelihood(self) -> Callable:
        """Return the log likelihoods of the observed variables, term by term."""
        model = self._model
        return self._once(
            "likelihood", lambda: self.jaxified(model.logp(model.observed_RVs, sum=False))
        )

    def every_term(self) -> Callable:
        """Return the log probabilities of all variables and potentials."""
        return self._once("terms", lambda: self.jaxified(self._model.logp(sum=False)))

    def forward(self) -> Callable:
        """Return the value variables as functions of the variables themselves."""

        def make() -> Callable:
            from pytensor.tensor.type import tensor

            model = self._model
            shapes = model.eval_rv_shapes()
            given = {
                v: tensor(f"{v.name}_", dtype=v.dtype, shape=tuple(shapes[v.name]))
                for v in model.free_RVs
            }
            outputs = []
            for variable in model.free_RVs:
                transform = model.rvs_to_transforms.get(variable)
                parents = variable.owner.inputs
                outputs.append(
                    variable if transform is None else transform.forward(variable, *parents)
                )
            return _jaxify(outputs, given | {v: self._inputs[v] for v in self.data})

        return self._once("forward", make)

    def _once(self, name: str, make: Callable[[], Callable]) -> Callable:
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


def _jaxify(outputs: Sequence[Any], inputs: Mapping[Any, Any]) -> Callable:
    """Return graphs as a JAX function of what stands in for some of their variables."""
    from pymc.sampling.jax import get_jaxified_graph
    from pytensor.graph.replace import clone_replace

    replaced: Any = clone_replace(list(outputs), replace=dict(inputs), rebuild_strict=False)
    # Constants become JAX arrays here, and would be rounded to single precision for good, or be
    # those of a trace that ends while the function is kept.
    with precision_of(DOUBLE), jax.ensure_compile_time_eval():
        return get_jaxified_graph(inputs=list(inputs.values()), outputs=replaced)


def data_of(model: Any) -> list[Any]:
    """Return the `pm.Data` of a model that can be replaced: arrays, not numbers used as sizes."""
    return [v for v in model.data_vars if v.get_value(borrow=True).ndim > 0]


def pymc_problems(model: Any) -> list[str]:
    """Say why a PyMC model cannot be fitted, each reason a sentence."""
    problems = []
    if not model.free_RVs:
        problems.append("the PyMC model has no free variables: there is nothing to infer")
    discrete = [variable.name for variable in model.discrete_value_vars]
    if discrete:
        problems.append(
            f"discrete variables cannot be fitted: {first_few(discrete)}; sum them out, with "
            "pm.Mixture or pymc_extras.marginalize"
        )
    try:
        if "pymc.sampling.jax" not in sys.modules:
            with _precision_kept():
                import pymc.sampling.jax  # noqa: F401
    except ImportError:
        raise MissingExtraError("pymc with its JAX backend", EXTRA) from None
    return problems


def make_pymc_program(model: Any, watch: Watch) -> PymcProgram:
    """Read a PyMC model.

    Raises:
        InputError: it has discrete variables, or an operation that JAX cannot compute.
        MissingExtraError: PyMC's JAX backend is not there.
    """
    problems = pymc_problems(model)
    if problems:
        raise InputError(problems)
    try:
        return PymcProgram(model, watch)
    except NotImplementedError as error:
        text = str(error).splitlines()[0]
        raise InputError(f"PyMC's JAX backend cannot compute this model: {text}") from error


def pymc_form(model: Any) -> tuple[Any, ...]:
    """Return what a program of the model depends on besides the values of its data."""
    variables = [*model.basic_RVs, *model.deterministics, *model.potentials]
    replaceable = data_of(model)
    shapes = [(v.name, np.shape(v.get_value(borrow=True))) for v in replaceable]
    fixed = [v.get_value().tobytes() for v in model.data_vars if v not in replaceable]
    return (tuple(Identity(v) for v in variables), tuple(shapes), tuple(fixed))


@contextlib.contextmanager
def _precision_kept() -> Iterator[None]:
    """Undo what PyTensor does when it is imported: it sets JAX to double precision for good."""
    before = native_dtype() == DOUBLE
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


def _value_of(variable: Any, given: Mapping[Any, Any]) -> Any:
    """Return the data behind an observed variable."""
    if variable in given:
        return given[variable]
    if hasattr(variable, "data"):  # a constant
        return variable.data
    if hasattr(variable, "get_value"):
        return variable.get_value()
    return variable.eval(mode="FAST_COMPILE")
