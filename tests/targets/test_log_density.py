import collections
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats as st

import taut

pytestmark = pytest.mark.usefixtures("double_precision")


def test_a_bare_array_is_named_x(same_to_rounding):
    target = taut.from_log_density(lambda x: -0.5 * jnp.sum(x**2), np.zeros(3))
    z = jnp.array([1.0, -2.0, 0.5])
    assert target.dim == 3
    assert [(s.name, s.shape) for s in target.program.sites] == [("x", (3,))]
    same_to_rounding(target.log_density(z), -2.625)
    same_to_rounding(target.constrain(z)["x"], z)


def test_a_tree_of_arrays_is_named_by_its_keys(same_to_rounding):
    init = {"a": 0.0, "group": {"b": np.zeros((2, 2)), "c": [np.zeros(1), 0.0]}}

    def density(values):
        group = values["group"]
        return (
            -(values["a"] ** 2)
            - jnp.sum(group["b"] * jnp.arange(4.0).reshape(2, 2))
            - (group["c"][0][0] * group["c"][1])
        )

    target = taut.from_log_density(density, init)
    names = [site.name for site in target.program.sites]
    assert names == ["a", "group.b", "group.c.0", "group.c.1"]
    z = jnp.arange(1.0, 8.0)
    values = target.constrain(z)
    same_to_rounding(values["group.b"], np.array([[2.0, 3.0], [4.0, 5.0]]))
    same_to_rounding(target.log_density(z), -1.0 - (3.0 + 8.0 + 15.0) - 42.0)
    again, log_jacobian = target.unconstrain(values)
    same_to_rounding(again, z)
    assert log_jacobian == 0.0
    same_to_rounding(target.log_joint(values), target.log_density(z))


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Params:
    loc: Any
    scales: dict[str, Any]


Pair = collections.namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("init", "names"),
    [
        (Params(np.zeros(2), {"u": 0.0, "v": np.zeros((2, 1))}), ["loc", "scales.u", "scales.v"]),
        (Pair(0.0, [np.zeros(2)]), ["a", "b.0"]),
        ([0.0, (np.zeros(2), None)], ["0", "1.0"]),
    ],
)
def test_any_container_that_jax_knows_will_do(init, names, same_to_rounding):
    def density(values):
        assert type(values) is type(init)
        leaves = jax.tree_util.tree_leaves(values)
        return -sum((i + 1) * jnp.sum(leaf**2) for i, leaf in enumerate(leaves))

    target = taut.from_log_density(density, init)
    assert [site.name for site in target.program.sites] == names
    z = jnp.arange(1.0, target.dim + 1.0)
    weights = np.concatenate(
        [np.full(np.size(leaf), i + 1.0) for i, leaf in enumerate(jax.tree_util.tree_leaves(init))]
    )
    same_to_rounding(target.log_density(z), -np.sum(weights * z**2))
    same_to_rounding(target.log_joint(target.constrain(z)), target.log_density(z))


def test_two_values_of_one_name_are_refused():
    with pytest.raises(taut.InputError, match=r"more than one value called a\.b"):
        taut.from_log_density(lambda v: 0.0, {"a.b": 0.0, "a": {"b": 0.0}})


def test_data_are_leaves_and_share_a_program(same_to_rounding):
    def density(mean, data):
        return jnp.sum(-0.5 * (data["y"] - mean) ** 2 * data["weight"])

    first, second = (
        taut.from_log_density(density, 0.0, {"y": np.array(y), "weight": np.ones(2)})
        for y in ([1.0, 2.0], [3.0, 5.0])
    )
    assert first.program is second.program
    same_to_rounding(first.log_density(jnp.zeros(1)), -2.5)
    same_to_rounding(second.log_density(jnp.zeros(1)), -17.0)


def test_other_shapes_are_another_program():
    def density(x):
        return -jnp.sum(x**2)

    assert taut.from_log_density(density, np.zeros(2)).dim == 2
    assert taut.from_log_density(density, np.zeros(3)).dim == 3


def test_it_can_be_fitted(within_error, same_to_rounding):
    precision = np.array([[2.0, 0.6], [0.6, 1.0]])
    mean = np.array([1.0, -3.0])

    def density(x, data):
        return -0.5 * (x - data) @ jnp.asarray(precision) @ (x - data)

    fit = taut.fit(taut.from_log_density(density, np.zeros(2), mean), progress=False)
    assert fit.trust == "trusted"
    covariance = np.linalg.inv(precision)
    same_to_rounding(fit.guide.loc, mean, condition=1e3)
    evidence = -st.multivariate_normal(mean, covariance).logpdf(mean)
    same_to_rounding(fit.elbo[0], evidence, condition=1e3)


@pytest.mark.parametrize(
    ("init", "said"),
    [
        ({}, "init has no arrays: a log density needs at least one value to infer"),
        ({"a": np.array(["text"])}, r"init\['a'\] is not numeric"),
        ({"a": 1j}, r"init\['a'\] is complex, and every value of a log density is real"),
    ],
)
def test_an_init_that_gives_nothing_to_infer_is_refused(init, said):
    with pytest.raises(taut.InputError, match=said):
        taut.from_log_density(lambda values: 0.0, init)


def test_a_density_that_is_no_scalar_is_refused():
    target = taut.from_log_density(lambda x: -(x**2), np.zeros(2))
    with pytest.raises(taut.InputError, match=r"must return a scalar; it returned shape \(2,\)"):
        taut.fit(target, progress=False)


def _said(function, init, *data):
    with pytest.raises(taut.InputError) as caught:
        taut.fit(taut.from_log_density(function, init, *data), progress=False)
    (problem,) = caught.value.problems
    return problem


@pytest.mark.parametrize(
    "density",
    [
        lambda x: -np.sum(np.exp(x)),
        lambda x: -np.linalg.norm(x),
        lambda x: -x[0] if x[0] > 0 else x[0],
        lambda x: -float(x[0]),
    ],
)
def test_numpy_or_python_inside_a_density_is_told_what_to_write(density):
    problem = _said(density, np.zeros(2))
    with pytest.raises(taut.InputError) as caught:
        taut.fit(taut.from_log_density(density, np.zeros(2)), guide="flwo", progress=False)
    assert caught.value.problems[1:] == (problem,)
    assert problem.startswith(
        "the log density '<lambda>' uses its values where NumPy or Python needs plain numbers at "
        "test_log_density.py:"
    )
    assert problem.endswith(
        "Write jnp in place of np, jnp.where in place of if, and no float() or int()"
    )


def test_a_density_that_raises_is_located():
    def density(values):
        return values["b"]

    problem = _said(density, {"a": 0.0})
    assert problem.startswith("the log density 'density' raised KeyError at test_log_density.py:")
    assert problem.endswith("(`return values[\"b\"]`): 'b'")


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (None, "returned None; is its return statement missing?"),
        ("text", "must return a scalar; it returned a str"),
        ((0.0, 1.0), "must return a scalar; it returned a tuple"),
        (1j, "must be real; it is complex: return its real part, jnp.real(...)"),
    ],
)
def test_a_result_that_is_no_log_density(result, said):
    assert _said(lambda x: result, np.zeros(2)) == f"the log density {said}"


def test_a_function_that_is_not_called_so():
    with_data = _said(lambda x, data: 0.0, np.zeros(2))
    assert with_data.startswith(
        "the log density is called as <lambda>(values), as no data were given; its signature is "
        "<lambda>(x, data)."
    )
    without = _said(lambda x: 0.0, np.zeros(2), np.zeros(3))
    assert "called as <lambda>(values, data); its signature is <lambda>(x)." in without
    assert _said(3, np.zeros(2)) == "a log density is a function of the parameters; got int"


def test_data_of_a_density_that_are_no_numbers():
    said = _said(lambda x, data: 0.0, 0.0, {"name": np.array(["a", "b"]), "y": np.zeros(2)})
    assert said == "argument \"data['name']\" holds no numbers but str, such as 'a'"


def test_a_density_that_is_nowhere_finite_is_refused():
    target = taut.from_log_density(lambda x: jnp.nan * jnp.sum(x), np.zeros(2))
    with pytest.raises(taut.InputError, match="no start has a finite log density"):
        taut.fit(target, progress=False)
