"""A target's log density equals a formula written by hand, over a registry of models.

The formula is for the model's own variables; the change of variables is checked against the
Jacobian that JAX finds for `constrain`, so nothing here shares code with what it checks.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.special
import scipy.stats as st
from numpyro import handlers
from numpyro.contrib.control_flow import scan
from numpyro.distributions import constraints
from numpyro.infer.reparam import LocScaleReparam

import taut

pytestmark = pytest.mark.usefixtures("double_precision")

Y = np.array([0.4, -1.2, 2.5, 0.3])


@dataclasses.dataclass(frozen=True)
class Case:
    """A model, its arguments, and its log joint density by hand.

    Attributes:
        model: the NumPyro model.
        log_joint: log density of the sites' values.
        args: positional arguments.
        kwargs: keyword arguments.
        free: for sites whose value has fewer degrees of freedom than numbers, which numbers are
            the coordinates that the density is meant for.
    """

    model: Callable
    log_joint: Callable[[dict], float]
    args: tuple = ()
    kwargs: dict = dataclasses.field(default_factory=dict)
    free: dict[str, Any] = dataclasses.field(default_factory=dict)


CASES: dict[str, Case] = {}


def case(log_joint, *args, free=None, **kwargs):
    def register(model):
        CASES[model.__name__] = Case(model, log_joint, args, kwargs, free or {})
        return model

    return register


def _normal_joint(v):
    prior = st.norm.logpdf(v["m"], 1.0, 2.0) + st.halfnorm.logpdf(v["s"], scale=3.0)
    return prior + st.norm.logpdf(Y, v["m"], v["s"]).sum()


@case(_normal_joint, Y)
def positive_scale(y):
    m = numpyro.sample("m", dist.Normal(1.0, 2.0))
    s = numpyro.sample("s", dist.HalfNormal(3.0))
    numpyro.sample("y", dist.Normal(m, s), obs=y)


@case(
    lambda v: (
        st.lognorm.logpdf(v["b"], 1.0)
        + st.uniform.logpdf(v["u"], 0.0, v["b"])
        + st.norm.logpdf(Y, v["u"], 1.0).sum()
    ),
    Y,
)
def support_depends_on_a_latent(y):
    b = numpyro.sample("b", dist.LogNormal(0.0, 1.0))
    u = numpyro.sample("u", dist.Uniform(0.0, b))
    numpyro.sample("y", dist.Normal(u, 1.0), obs=y)


@case(
    lambda v: (
        st.uniform.logpdf(v["low"], -1.0, 2.0)
        + sum(
            st.uniform.logpdf(u, v["low"], b - v["low"])
            for u, b in zip(v["u"], [2.0, 3.0, 4.0], strict=True)
        )
    ),
    np.array([2.0, 3.0, 4.0]),
)
def supports_differ_by_row(upper):
    low = numpyro.sample("low", dist.Uniform(-1.0, 1.0))
    with numpyro.plate("rows", 3):
        numpyro.sample("u", dist.Uniform(low, upper))


@case(
    lambda v: -np.log(v["s"]) + st.norm.logpdf(Y, v["m"][0] - v["m"][1], v["s"]).sum(),
    Y,
)
def improper(y):
    s = numpyro.sample("s", dist.ImproperUniform(constraints.positive, (), ()))
    m = numpyro.sample("m", dist.ImproperUniform(constraints.real, (2,), ()))
    numpyro.factor("scale prior", -jnp.log(s))
    numpyro.sample("y", dist.Normal(m[0] - m[1], s), obs=y)


@case(lambda v: st.norm.logpdf(v["a"]) - (v["a"] ** 4))
def factor():
    a = numpyro.sample("a", dist.Normal())
    numpyro.factor("quartic", -(a**4))


def _plates_joint(v):
    total = st.gamma.logpdf(v["t"], 2.0, scale=1 / 3.0).sum()
    total += st.norm.logpdf(v["a"], 0.0, v["t"][:, None]).sum()
    return total + st.norm.logpdf(np.ones((3, 2)), v["a"].T, 0.5).sum()


@case(_plates_joint, np.ones((3, 2)))
def nested_plates(y):
    with numpyro.plate("groups", 2, dim=-1):
        t = numpyro.sample("t", dist.Gamma(2.0, 3.0))
    with numpyro.plate("first", 2, dim=-2), numpyro.plate("second", 3, dim=-1):
        a = numpyro.sample("a", dist.Normal(0.0, t[:, None]))
    with numpyro.plate("rows", 3, dim=-2), numpyro.plate("columns", 2, dim=-1):
        numpyro.sample("y", dist.Normal(a.T, 0.5), obs=y)


@case(
    lambda v: (
        st.norm.logpdf(v["a"], [0.0, 1.0], 2.0).sum()
        + st.expon.logpdf(v["r"], scale=0.5).sum()
        + st.norm.logpdf(0.3, v["a"].sum(), v["r"].sum())
    )
)
def sample_shape():
    a = numpyro.sample("a", dist.Normal(jnp.array([0.0, 1.0]), 2.0), sample_shape=(3,))
    r = numpyro.sample("r", dist.Exponential(2.0), sample_shape=(2, 2))
    numpyro.sample("y", dist.Normal(a.sum(), r.sum()), obs=0.3)


MASK = np.array([True, False, True, True])


@case(
    lambda v: st.halfcauchy.logpdf(v["s"]) + st.norm.logpdf(Y[MASK], 0.0, v["s"]).sum(),
    Y,
    MASK,
)
def masked_data(y, mask):
    s = numpyro.sample("s", dist.HalfCauchy(1.0))
    with handlers.mask(mask=mask):
        numpyro.sample("y", dist.Normal(0.0, s), obs=y)


# A masked latent has no density of its own, but it is still a change of variables.
@case(
    lambda v: st.norm.logpdf(Y, v["s"][0], v["s"][1]).sum() + st.expon.logpdf(v["s"][0]),
    Y,
    np.array([True, False]),
)
def masked_latent(y, mask):
    with numpyro.plate("pair", 2), handlers.mask(mask=mask):
        s = numpyro.sample("s", dist.Exponential(1.0))
    numpyro.sample("y", dist.Normal(s[0], s[1]), obs=y)


@case(
    lambda v: st.expon.logpdf(v["s"]) + st.norm.logpdf(Y[MASK], 0.0, v["s"]).sum(),
    Y,
    MASK,
)
def distribution_mask(y, mask):
    s = numpyro.sample("s", dist.Exponential(1.0).mask(True))
    numpyro.sample("y", dist.Normal(0.0, s).mask(mask), obs=y)


@case(
    lambda v: (
        0.25 * st.expon.logpdf(v["s"])
        + 3.0 * st.norm.logpdf(Y, v["u"], v["s"]).sum()
        + st.beta.logpdf(v["u"], 2.0, 3.0)
    ),
    Y,
)
def scaled(y):
    # The powers of the densities change, the change of variables does not.
    with handlers.scale(scale=0.25):
        s = numpyro.sample("s", dist.Exponential(1.0))
    u = numpyro.sample("u", dist.Beta(2.0, 3.0))
    with handlers.scale(scale=3.0):
        numpyro.sample("y", dist.Normal(u, s), obs=y)


@case(
    lambda v: st.norm.logpdf(v["a"]) + st.norm.logpdf(1.5, np.exp(v["a"]), 1.0),
)
def deterministic():
    a = numpyro.sample("a", dist.Normal())
    b = numpyro.deterministic("b", jnp.exp(a))
    numpyro.sample("y", dist.Normal(b, 1.0), obs=1.5)


@case(
    lambda v: (
        st.dirichlet.logpdf(v["p"] / v["p"].sum(), [1.5, 2.0, 0.7])
        + st.multinomial.logpmf([4, 1, 2], 7, v["p"] / v["p"].sum())
    ),
    np.array([4, 1, 2]),
    free={"p": [0, 1]},
)
def simplex(counts):
    p = numpyro.sample("p", dist.Dirichlet(jnp.array([1.5, 2.0, 0.7])))
    numpyro.sample("counts", dist.Multinomial(7, p), obs=counts)


@case(lambda v: st.norm.logpdf(v["c"], 0.0, 2.0).sum())
def ordered_vector():
    c = numpyro.sample("c", dist.ImproperUniform(constraints.ordered_vector, (), (3,)))
    numpyro.factor("prior", dist.Normal(0.0, 2.0).log_prob(c).sum())


# The density of a 2 x 2 LKJ correlation r is that of 2 B - 1 with B ~ Beta(c, c).
@case(
    lambda v: st.beta.logpdf((v["L"][1, 0] + 1) / 2, 1.7, 1.7) - np.log(2.0),
    free={"L": [2]},
)
def correlation_factor():
    numpyro.sample("L", dist.LKJCholesky(2, 1.7))


def _scan_joint(v):
    total = st.halfnorm.logpdf(v["drift"])
    state = 0.0
    for step, y in zip(v["x"], Y, strict=True):
        total += st.gamma.logpdf(step, 2.0, scale=1.0)
        state = state + step * v["drift"]
        total += st.norm.logpdf(y, state, 1.0)
    return total


@case(_scan_joint, Y)
def latents_in_a_scan(y):
    drift = numpyro.sample("drift", dist.HalfNormal(1.0))

    def step(state, row):
        x = numpyro.sample("x", dist.Gamma(2.0, 1.0))
        state = state + x * drift
        numpyro.sample("y", dist.Normal(state, 1.0), obs=row)
        return state, None

    scan(step, 0.0, y)


@case(lambda v: st.norm.logpdf(v["m"]) + st.norm.logpdf(Y, v["m"], 1.0).sum(), Y)
def subsampled_plate(y):
    m = numpyro.sample("m", dist.Normal())
    with numpyro.plate("rows", 4, subsample_size=2) as index:
        numpyro.sample("y", dist.Normal(m, 1.0), obs=y[index])


@case(
    lambda v: (
        st.norm.logpdf(v["m"], 1.0, 0.5)
        + st.norm.logpdf(Y, v["m"] * np.arange(4.0), 3.0).sum()
        + st.norm.logpdf(2.0, v["m"])
    ),
    {"x": np.arange(4.0), "y": Y},
    [np.asarray(1.0), np.asarray(0.5)],
    (3.0, np.asarray(2.0)),
)
def containers(data, prior, rest):
    m = numpyro.sample("m", dist.Normal(prior[0], prior[1]))
    numpyro.sample("y", dist.Normal(m * data["x"], rest[0]), obs=data["y"])
    numpyro.sample("z", dist.Normal(m, 1.0), obs=rest[1])


@case(
    lambda v: st.norm.logpdf(v["m"]) + st.norm.logpdf(Y, v["m"], 1.0).sum(), [0.4, -1.2, 2.5, 0.3]
)
def python_list(y):
    m = numpyro.sample("m", dist.Normal())
    numpyro.sample("y", dist.Normal(m, 1.0), obs=y * 1.0)


@case(
    lambda v: (
        st.norm.logpdf(v["mu"])
        + st.halfnorm.logpdf(v["tau"])
        # Where the model is reparameterised, the standardised value is the latent one.
        + st.norm.logpdf(v["theta_decentered"]).sum()
        + st.norm.logpdf(Y, v["mu"] + v["tau"] * v["theta_decentered"], 1.0).sum()
    ),
    Y,
)
def reparameterised(y):
    mu = numpyro.sample("mu", dist.Normal())
    tau = numpyro.sample("tau", dist.HalfNormal())
    with numpyro.plate("rows", 4):
        with handlers.reparam(config={"theta": LocScaleReparam(0.0)}):
            theta = numpyro.sample("theta", dist.Normal(mu, tau))
        numpyro.sample("y", dist.Normal(theta, 1.0), obs=y)


@case(
    lambda v: (
        st.norm.logpdf(v["m"])
        + st.norm.logpdf(Y[MASK], v["m"], 1.0).sum()
        + st.norm.logpdf(v["y_unobserved"], v["m"], 1.0)[~MASK].sum()
        # NumPyro gives the entries that are observed a flat density in the site of missing ones.
    ),
    Y,
    MASK,
)
def missing_data(y, mask):
    m = numpyro.sample("m", dist.Normal())
    with numpyro.plate("rows", 4):
        numpyro.sample("y", dist.Normal(m, 1.0), obs=y, obs_mask=mask)


@case(
    lambda v: (
        st.multivariate_normal.logpdf(v["w"], np.zeros(2), [[2.0, 0.5], [0.5, 1.0]])
        + st.bernoulli.logpmf([1, 0], scipy.special.expit(v["w"])).sum()
    ),
    np.array([1, 0]),
)
def vector_event(y):
    covariance = jnp.array([[2.0, 0.5], [0.5, 1.0]])
    w = numpyro.sample("w", dist.MultivariateNormal(jnp.zeros(2), covariance))
    numpyro.sample("y", dist.Bernoulli(logits=w), obs=y)


def _target(entry):
    return taut.target(entry.model, *entry.args, **entry.kwargs)


def _points(target, count=4):
    return np.random.default_rng(3).uniform(-1.5, 1.5, (count, target.dim))


def _free_coordinates(values, target, free):
    """The values side by side, without those that follow from the others."""
    parts = []
    for site in target.program.sites:
        flat = jnp.reshape(values[site.name], -1)
        parts.append(flat[jnp.asarray(free[site.name])] if site.name in free else flat)
    return jnp.concatenate(parts)


@pytest.mark.parametrize("name", CASES)
def test_log_density_is_the_formula_plus_the_log_jacobian(name, same_to_rounding):
    entry = CASES[name]
    target = _target(entry)

    def coordinates(z):
        return _free_coordinates(target.constrain(z), target, entry.free)

    for z in _points(target):
        values = {k: np.asarray(v) for k, v in target.constrain(jnp.asarray(z)).items()}
        _, log_jacobian = np.linalg.slogdet(jax.jacfwd(coordinates)(jnp.asarray(z)))
        expected = entry.log_joint(values) + log_jacobian
        same_to_rounding(target.log_density(jnp.asarray(z)), expected, condition=10.0)


@pytest.mark.parametrize("name", CASES)
def test_log_joint_is_the_formula(name, same_to_rounding):
    entry = CASES[name]
    target = _target(entry)
    for z in _points(target, 2):
        values = target.constrain(jnp.asarray(z))
        sites = {site.name: values[site.name] for site in target.program.sites}
        expected = entry.log_joint({k: np.asarray(v) for k, v in values.items()})
        same_to_rounding(target.log_joint(sites), expected, condition=10.0)


@pytest.mark.parametrize("name", sorted(set(CASES) - {"latents_in_a_scan"}))
def test_unconstrain_undoes_constrain(name, same_to_rounding):
    entry = CASES[name]
    target = _target(entry)

    def coordinates(z):
        return _free_coordinates(target.constrain(z), target, entry.free)

    for z in _points(target, 2):
        values = target.constrain(jnp.asarray(z))
        sites = {site.name: values[site.name] for site in target.program.sites}
        again, log_jacobian = target.unconstrain(sites)
        same_to_rounding(again, z, condition=10.0)
        _, expected = np.linalg.slogdet(jax.jacfwd(coordinates)(jnp.asarray(z)))
        same_to_rounding(log_jacobian, expected, condition=10.0)


def test_unconstrain_undoes_constrain_inside_a_scan(same_to_rounding):
    entry = CASES["latents_in_a_scan"]
    target = _target(entry)
    z = _points(target, 1)[0]
    values = target.constrain(jnp.asarray(z))
    sites = {site.name: values[site.name] for site in target.program.sites}
    again, log_jacobian = target.unconstrain(sites)
    same_to_rounding(again, z)
    # Every latent is positive, so its own logarithm is its log Jacobian.
    same_to_rounding(log_jacobian, sum(np.log(v).sum() for v in sites.values()))


@pytest.mark.parametrize("name", CASES)
def test_the_density_is_finite_with_its_gradient_and_serves_batches(name, same_to_rounding):
    target = _target(CASES[name])
    points = jnp.asarray(_points(target))
    batched = jax.jit(jax.vmap(jax.value_and_grad(target.log_density)))(points)
    assert all(jnp.isfinite(part).all() for part in batched)
    one = jnp.stack([target.log_density(z) for z in points])
    same_to_rounding(batched[0], one)


def test_the_latents_keep_the_models_order_and_shapes():
    sites = _target(CASES["nested_plates"]).program.sites
    assert [(s.name, s.shape, s.dims) for s in sites] == [
        ("t", (2,), ("groups",)),
        ("a", (2, 3), ("first", "second")),
    ]
    simplex_site = _target(CASES["simplex"]).program.sites[0]
    assert simplex_site.shape == (3,)
    assert simplex_site.latent_shape == (2,)


def test_deterministic_values_come_back(same_to_rounding):
    target = _target(CASES["deterministic"])
    assert target.program.deterministics == ("b",)
    same_to_rounding(target.constrain(jnp.array([0.3]))["b"], np.exp(0.3))


def test_a_subsampled_plate_is_used_whole_with_a_note():
    notes = _target(CASES["subsampled_plate"]).program.notes
    assert notes == ("plate 'rows' is used whole (4 rows), not subsampled",)


def test_a_table_column_is_data(same_to_rounding):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"y": Y, "label": list("abcd")})
    entry = CASES["positive_scale"]
    from_table = taut.target(entry.model, table["y"])
    z = jnp.array([0.2, -0.4])
    same_to_rounding(from_table.log_density(z), _target(entry).log_density(z))
    assert from_table.data_names == ("y",)


def test_a_conditioned_model_is_a_model(same_to_rounding):
    def free_model():
        m = numpyro.sample("m", dist.Normal())
        numpyro.sample("y", dist.Normal(m, 1.0))

    target = taut.target(handlers.condition(free_model, {"y": 0.7}))
    expected = st.norm.logpdf(0.2) + st.norm.logpdf(0.7, 0.2, 1.0)
    same_to_rounding(target.log_density(jnp.array([0.2])), expected)


def test_the_data_are_leaves_of_the_target(same_to_rounding):
    target = _target(CASES["positive_scale"])
    leaves, structure = jax.tree_util.tree_flatten(target)
    assert len(leaves) == 1
    assert np.array_equal(leaves[0], Y)
    z = jnp.array([0.3, 0.1])
    other = jax.tree_util.tree_unflatten(structure, [Y + 1.0])
    values = {k: np.asarray(v) for k, v in target.constrain(z).items()}
    shifted = _normal_joint({"m": values["m"] - 1.0, "s": values["s"]})
    shifted += st.norm.logpdf(values["m"], 1.0, 2.0) - st.norm.logpdf(values["m"] - 1.0, 1.0, 2.0)
    same_to_rounding(other.log_density(z), shifted + np.log(values["s"]))
