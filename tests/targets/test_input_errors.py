"""Mistakes in a model and its data are errors before any optimisation, with what would fix them."""

import random
import re

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from numpyro import handlers

import taut


def _said(call, *args, **kwargs):
    """The problems of the InputError that a call raises."""
    with pytest.raises(taut.InputError) as caught:
        call(*args, **kwargs)
    for problem in caught.value.problems:
        assert problem in str(caught.value)
    return caught.value.problems


def _fit(*args, **kwargs):
    return taut.fit(*args, progress=False, **kwargs)


def line(x, y=None):
    a = numpyro.sample("a", dist.Normal())
    with numpyro.plate("rows", len(x)):
        numpyro.sample("y", dist.Normal(a * x, 1.0), obs=y)


X = np.arange(1.0, 6.0)


def _with(position, value):
    y = X.copy()
    y[position] = value
    return y


@pytest.mark.parametrize(
    ("value", "kind"), [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite")]
)
def test_data_that_are_not_finite(value, kind):
    expected = (
        f"site 'y': the data (y) are {kind} in 1 of 5 places, at row 2; drop those rows or put a "
        "finite value there and mask them"
    )
    assert _said(_fit, line, X, y=_with(2, value)) == (expected,)


def test_the_first_rows_that_are_not_finite_are_listed():
    (problem,) = _said(_fit, line, np.arange(9.0), y=np.full(9, np.nan))
    assert "in 9 of 9 places, at row 0, row 1, row 2, row 3, row 4 and 4 more;" in problem


def test_a_matrix_of_data_is_located_by_index():
    def model(y):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    y = np.ones((3, 2))
    y[1, 0] = np.nan
    (problem,) = _said(_fit, model, y)
    assert "in 1 of 6 places, at index (1, 0);" in problem


def test_new_data_for_a_known_program_are_checked_too():
    _fit(line, X, y=X, checks=False)
    assert "at row 1" in _said(_fit, line, X, y=_with(1, np.nan))[0]


def test_data_that_a_mask_hides_may_be_anything(same_to_rounding):
    def model(y):
        a = numpyro.sample("a", dist.Normal())
        seen = jnp.isfinite(y)
        with handlers.mask(mask=seen):
            numpyro.sample("y", dist.Normal(a, 1.0), obs=jnp.where(seen, y, 0.0))

    fit = _fit(model, _with(2, np.nan), checks=False)
    same_to_rounding(fit.guide.loc[0], (X.sum() - X[2]) / 5.0, np.float32)


def _observing(make):
    def model(y, *rest):
        a = numpyro.sample("a", dist.Normal())
        with numpyro.plate("rows", len(y)):
            numpyro.sample("y", make(a, *rest), obs=y)

    return model


OUTSIDE = {
    "poisson": (
        lambda a: dist.Poisson(jnp.exp(a)),
        (np.array([3, 0, -1, 2]),),
        "1 of 4 data lie outside the support of its distribution (whole numbers from 0 on)",
        "row 2 is -1",
    ),
    "gamma": (
        lambda a: dist.Gamma(1.0, jnp.exp(a)),
        (np.array([3.0, 0.5, -2.5]),),
        "1 of 3 data lie outside the support of its distribution (numbers above 0)",
        "row 2 is -2.5",
    ),
    "beta": (
        lambda a: dist.Beta(jnp.exp(a), 1.0),
        (np.array([0.5, 1.5, 0.2, -0.1]),),
        "2 of 4 data lie outside the support of its distribution (numbers from 0 to 1)",
        "row 1 is 1.5, row 3 is -0.1",
    ),
    "bernoulli": (
        lambda a: dist.Bernoulli(logits=a),
        (np.array([0, 1, 2]),),
        "1 of 3 data lie outside the support of its distribution (0 and 1)",
        "row 2 is 2",
    ),
    "a bound by argument": (
        lambda a, total: dist.Binomial(total, logits=a),
        (np.array([3, 1, 4]), np.array([5, 1, 2])),
        "1 of 3 data lie outside the support of its distribution "
        "(whole numbers from 0 to its own bound)",
        "row 2 is 4",
    ),
    "a bound by a number": (
        lambda a, low: dist.TruncatedNormal(a, 1.0, low=low),
        (np.array([3.0, 1.0]), 2.0),
        "1 of 2 data lie outside the support of its distribution (numbers from 2 on)",
        "row 1 is 1",
    ),
    "a categorical": (
        lambda a: dist.Categorical(logits=a * jnp.arange(3.0)),
        (np.array([0, 3, 2]),),
        "1 of 3 data lie outside the support of its distribution (whole numbers from 0 to 2)",
        "row 1 is 3",
    ),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_data_outside_the_support(name):
    make, args, what, where = OUTSIDE[name]
    (problem,) = _said(_fit, _observing(make), *args)
    assert problem.startswith(f"site 'y': {what}")
    assert problem.endswith(f": {where}")


@pytest.mark.parametrize("y", [7, np.array(7), np.array([7]), np.array([[7]])])
def test_one_datum_that_faces_many_bounds(y):
    def model(total, y):
        share = numpyro.sample("share", dist.Beta(1.0, 1.0))
        numpyro.sample("y", dist.Binomial(total, share), obs=y)

    (problem,) = _said(_fit, model, np.array([5, 10, 6]), y)
    assert "2 of 3 data lie outside the support" in problem
    assert re.search(r"0\)? is 7, .*2\)? is 7$", problem)


def test_one_event_that_faces_many_bounds():
    def model(total, y):
        shares = numpyro.sample("shares", dist.Dirichlet(jnp.ones(4)))
        numpyro.sample("y", dist.Multinomial(total, shares), obs=y)

    *_, problem = _said(_fit, model, np.array([5, 10, 6]), np.array([1, 2, 3, 4]))
    assert problem.endswith("row 0: [1 2 3 4], row 2: [1 2 3 4]")


def test_a_bound_that_differs_by_row_is_checked_for_new_data_of_a_known_program():
    model = _observing(OUTSIDE["a bound by argument"][0])
    total = np.array([5, 1, 2])
    _fit(model, np.array([3, 1, 2]), total, checks=False)
    (problem,) = _said(_fit, model, np.array([3, 1, 2]), total - 1)
    assert problem.endswith(": row 1 is 1, row 2 is 2")


@pytest.mark.parametrize("plate", [False, True])
def test_a_column_against_a_row(plate):
    def model(x, y):
        a = numpyro.sample("a", dist.Normal())
        if plate:
            with numpyro.plate("rows", 5):
                numpyro.sample("y", dist.Normal(a * x, 1.0), obs=y)
        else:
            numpyro.sample("y", dist.Normal(a * x, 1.0), obs=y)

    (problem,) = _said(_fit, model, X, X[:, None])
    where = "site 'y' inside plate 'rows' (size 5)" if plate else "site 'y'"
    assert problem == (
        f"{where}: the distribution has shape (5,) and the data (5, 1); broadcast against each "
        "other every datum would count 5 times; reshape one of them, for example y[:, 0] or "
        "x.squeeze(-1), so that they agree"
    )


@pytest.mark.parametrize("plate", [False, True])
def test_a_row_against_a_column(plate):
    def model(x, y):
        a = numpyro.sample("a", dist.Normal())
        if plate:
            with numpyro.plate("rows", 5, dim=-2):
                numpyro.sample("y", dist.Normal(a * x, 1.0), obs=y)
        else:
            numpyro.sample("y", dist.Normal(a * x, 1.0), obs=y)

    (problem,) = _said(_fit, model, X[:, None], X)
    assert "the distribution has shape (5, 1) and the data (5,)" in problem
    assert "every datum would count 5 times" in problem


def test_data_of_another_length():
    def model(x, y):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", dist.Normal(a * x, 1.0), obs=y)

    (problem,) = _said(_fit, model, X, X[:3])
    assert "the distribution has shape (5,) and the data (3,), which do not fit together" in problem


def test_arguments_of_different_lengths_are_named_with_their_shapes():
    def model(x, weight, y):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", dist.Normal(a * x * weight, 1.0), obs=y)

    (problem,) = _said(_fit, model, X, X[:3], X)
    assert "test_input_errors.py:" in problem
    assert problem.endswith(" (the arguments have shapes: x (5,), weight (3,), y (5,))")


def test_a_branch_on_a_latent_value_is_told_what_to_use():
    def model(y):
        a = numpyro.sample("a", dist.Normal())
        if a > 0:
            a = 2 * a
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    (problem,) = _said(_fit, model, X)
    assert "(`if a > 0:`)" in problem
    assert "jnp.where in place of if" in problem


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda a: dist.Normal(a, 1.0), (5,)),
        (lambda a: dist.Normal(a * jnp.ones(5), 1.0), (3, 5)),
        (lambda a: dist.Normal(a * jnp.ones(5), 1.0).to_event(1), (3, 5)),
        (lambda a: dist.Normal(a, 1.0), ()),
    ],
)
def test_one_distribution_for_many_data_is_right(make, shape):
    def model(y):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", make(a), obs=y)

    assert taut.target(model, np.zeros(shape)).dim == 1


def test_an_argument_that_the_model_does_not_take():
    expected = (
        "the model takes no argument 'yy' (did you mean 'y'?); its signature is line(x, y=None)"
    )
    assert _said(_fit, line, X, yy=X) == (expected,)


def test_an_argument_that_is_missing():
    (problem,) = _said(_fit, line)
    assert problem == (
        "the model cannot be called so: missing a required argument: 'x'; its signature is "
        "line(x, y=None)"
    )


def test_too_many_arguments():
    (problem,) = _said(_fit, line, X, X, X)
    assert "too many positional arguments" in problem


def test_something_that_is_no_model():
    (problem,) = _said(_fit, 5)
    assert problem == (
        "a model is a function with numpyro.sample statements, or a PyMC model; got int"
    )


def test_a_log_density_is_no_model():
    (problem,) = _said(_fit, lambda p: -0.5 * jnp.sum(p**2), np.zeros(3))
    assert "taut.fit(taut.from_log_density(function, init))" in problem


@pytest.mark.parametrize("x", [X.astype(str), np.array(["a", None], dtype=object)])
def test_an_argument_that_holds_no_numbers(x):
    (problem,) = _said(_fit, line, x, y=X[: len(x)])
    assert "model 'line' computes at test_input_errors.py" in problem
    first = x.tolist()[0]
    expected = f"argument 'x' holds no numbers but {type(first).__name__}, such as {first!r}"
    assert problem.endswith(expected)


def test_numbers_that_are_python_objects():
    (problem,) = _said(_fit, line, X, y=X.astype(object))
    assert problem == "site 'y': the data hold numbers as Python objects; use .astype(float)"


NO_LOG_PROB = {
    "floats for whole numbers": (
        lambda: dist.Normal().expand([3]).to_event(1),
        np.array([0.0, 1.0, 2.0]),
        lambda a: dist.Categorical(logits=a),
        r"its data are float32: give whole numbers, y.astype\(int\)",
    ),
    "a list": (
        lambda: dist.Normal([0, 1], 1.0),
        np.ones(2),
        lambda a: dist.Normal(a, 1.0),
        r"its loc is \[0, 1\]; give it a number or an array.*",
    ),
    "nothing": (
        lambda: dist.Normal(None, 1.0),
        np.ones(2),
        lambda a: dist.Normal(a, 1.0),
        r"its loc is None; give it a number or an array.*",
    ),
    "shapes": (
        lambda: dist.Dirichlet(jnp.ones(4)),
        np.array([1, 2, 3]),
        lambda a: dist.Multinomial(6, a),
        r"shapes: value \(3,\), probs \(4,\), .*",
    ),
}


@pytest.mark.parametrize("name", NO_LOG_PROB)
def test_a_log_probability_that_cannot_be_computed(name):
    a, y, fn, said = NO_LOG_PROB[name]

    def model(y):
        value = numpyro.sample("a", a())
        numpyro.sample("y", fn(value), obs=y)

    (problem,) = _said(_fit, model, y)
    assert re.fullmatch(rf"site '[ay]': the log probability of its \w+ cannot be .*{said}", problem)


def test_a_site_whose_name_is_a_number():
    def model(y):
        a = numpyro.sample(3, dist.Normal(0.0, 1.0))
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    (problem,) = _said(_fit, model, np.ones(3))
    assert problem == "names of sites must be text; give those called 3 another name"


@pytest.mark.parametrize("y", [["a"] * len(X), np.array(["a"] * len(X))])
def test_data_that_are_text(y):
    (problem,) = _said(_fit, line, X, y=y)
    assert problem == "site 'y': the data hold no numbers but str, such as 'a'"


def test_a_model_without_latents():
    def model(y):
        numpyro.sample("y", dist.Normal(), obs=y)

    (problem,) = _said(_fit, model, X)
    assert problem == (
        "the model has no latent sites: nothing to infer. Every numpyro.sample has obs=; leave it "
        "out (or pass None) for what is unknown"
    )


def test_discrete_latents_are_named_and_their_sum_is_shown():
    def model(y):
        with numpyro.plate("rows", 5):
            group = numpyro.sample("group", dist.Categorical(jnp.array([0.3, 0.7])))
            numpyro.sample("y", dist.Normal(jnp.array([-1.0, 1.0])[group], 1.0), obs=y)
        numpyro.sample("count", dist.Poisson(3.0))

    (problem,) = _said(_fit, model, X)
    assert problem.startswith("discrete latent sites cannot be fitted: group, count. Sum them out")
    assert "group = numpyro.sample('group', dist.Categorical(probs))" in problem
    assert "dist.MixtureSameFamily(dist.Categorical(probs)" in problem
    assert "Poisson has no largest value, so sum as far as it matters" in problem
    assert "logits=dist.Poisson(...).log_prob(count)" in problem
    assert "jax.scipy.special.logsumexp(log_prior + log_likelihood, axis=-1)" in problem


@pytest.mark.parametrize(
    ("family", "endless"),
    [
        (lambda: dist.Poisson(3.0), "Poisson"),
        (lambda: dist.Geometric(jnp.full(2, 0.5)).to_event(1), "Geometric"),
        (lambda: dist.NegativeBinomial2(3.0, 1.0).expand([2]), "NegativeBinomial2"),
        (lambda: dist.Bernoulli(0.5), ""),
        (lambda: dist.Multinomial(3, jnp.full(3, 1 / 3)), ""),
    ],
)
def test_the_sum_that_is_shown_is_one_that_the_distribution_has(family, endless):
    def model(y):
        numpyro.sample("k", family())

    (problem,) = _said(_fit, model, X)
    assert ("dist.Categorical(probs)" in problem) == (not endless)
    assert (f"dist.{endless}(...).log_prob(k)" in problem) == bool(endless)


def test_the_sum_over_counts_that_is_shown_is_right(same_to_rounding):
    def model(y):
        rate = numpyro.sample("rate", dist.LogNormal(0.0, 1.0))
        k = jnp.arange(100)
        probs = dist.Categorical(logits=dist.Poisson(rate).log_prob(k))
        numpyro.sample("y", dist.MixtureSameFamily(probs, dist.Normal(k, 1.0)), obs=y)

    k = np.arange(400)
    terms = st.poisson(1.0).pmf(k) * st.norm(k, 1.0).pdf(X[:, None])
    expected = st.norm.logpdf(0.0) + np.log(terms.sum(axis=1)).sum()
    same_to_rounding(taut.target(model, X).log_density(jnp.zeros(1)), expected, np.float32)


def test_complex_data_and_arguments_are_named():
    (problem,) = _said(_fit, line, X, y=X + 1j)
    assert problem.startswith("site 'y': the data are complex, and a density is one of real")
    (problem,) = _said(_fit, line, X + 1j, y=X)
    assert problem.startswith("site 'y': the loc of its Normal is complex, and a density")
    assert _said(_fit, line, X, y=_with(1, np.nan) + 1j)[1].startswith("site 'y': the data (y) are")


@pytest.mark.parametrize("unit", ["D", "ns"])
def test_dates_are_told_how_to_become_days(unit):
    days = np.array("2020-01-01", f"datetime64[{unit}]") + np.arange(5) * np.timedelta64(1, "D")
    (problem,) = _said(_fit, line, days, y=X)
    assert problem.endswith(
        "argument 'x' holds no numbers but dates; write (t - t[0]) / np.timedelta64(1, 'D') for "
        "days"
    )
    (problem,) = _said(_fit, line, X, y=days - days[0])
    assert problem == (
        "site 'y': the data hold no numbers but lengths of time; write t / np.timedelta64(1, 'D') "
        "for days"
    )
    assert taut.target(line, (days - days[0]) / np.timedelta64(1, "D"), y=X).dim == 1


@pytest.mark.parametrize("take", [lambda scale: scale, float], ids=["traced", "a plain number"])
def test_param_sites_need_priors(take):
    def model(y):
        scale = take(numpyro.param("scale", 1.0))
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", dist.Normal(a, scale), obs=y)

    (problem,) = _said(_fit, model, X)
    assert problem == (
        "the model has numpyro.param sites: scale. A posterior needs a prior for each: use "
        "numpyro.sample with a distribution, or pass a fixed value"
    )


def test_a_support_without_a_bijection():
    def model():
        numpyro.sample("direction", dist.ProjectedNormal(jnp.zeros(3)))

    (problem,) = _said(_fit, model)
    assert problem == (
        "site 'direction' has support 'sphere', which no smooth one-to-one map from R^n reaches; "
        "write it through a site that has one (for a direction, normalise a Normal vector)"
    )


def test_a_model_that_raises_is_located_in_the_users_file():
    def model(y):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y + np.ones(3))

    (problem,) = _said(_fit, model, X)
    assert re.match(
        r"model 'model' raised \w+ at test_input_errors\.py:\d+ "
        r"\(`numpyro\.sample\(\"y\", dist\.Normal\(a, 1\.0\), obs=y \+ np\.ones\(3\)\)`\): ",
        problem,
    )


def test_a_model_that_raises_an_error_of_its_own():
    def model(y):
        raise KeyError("no such column")

    (problem,) = _said(_fit, model, X)
    assert "raised KeyError at test_input_errors.py:" in problem
    assert "(`raise KeyError(\"no such column\")`): 'no such column'" in problem


def test_a_delta_is_no_latent():
    def model(y):
        a = numpyro.sample("a", dist.Delta(1.0))
        b = numpyro.sample("b", dist.Normal(a, 1.0))
        numpyro.sample("y", dist.Normal(b, 1.0), obs=y)

    (problem,) = _said(_fit, model, np.ones(3))
    assert problem.startswith("site 'a' is a Delta, a value that is known")


def test_data_that_are_empty_are_noted():
    def model(y):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    note = "the data of site 'y' are empty, so they say nothing"
    assert note in _fit(model, np.zeros(0), checks=False).notes
    assert note not in _fit(model, np.zeros(1), checks=False).notes


def test_a_factor_has_no_data():
    def model(y):
        a = numpyro.sample("a", dist.Normal())
        numpyro.factor("f", -(a**2))
        with handlers.mask(mask=True):
            numpyro.factor("g", -(a**2))
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    assert taut.target(model, np.ones(3)).program.notes == ()


def test_any_generator_may_be_the_shared_one():
    kept = np.random.get_bit_generator()
    np.random.set_bit_generator(np.random.PCG64(1))
    try:
        assert taut.target(line, np.ones(3), y=np.ones(3)).program.notes == ()
    finally:
        np.random.set_bit_generator(kept)


def test_keys_of_any_type_name_their_values():
    def model(table, y):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", dist.Normal(a, table[None] + table[1]), obs=y)

    bound = taut.target(model, {None: 1.0, 1: 2.0}, np.ones(3))
    assert bound.data_names == ("table[None]", "table[1]", "y")


@pytest.mark.parametrize("draw", [lambda: np.random.normal(), lambda: random.gauss()])
def test_random_numbers_of_the_models_own_are_noted(draw):
    def model(y):
        a = numpyro.sample("a", dist.Normal(draw(), 1.0))
        numpyro.sample("y", dist.Normal(a, 1.0), obs=y)

    (note,) = _fit(model, np.ones(3), checks=False).notes
    assert note.startswith("the model draws random numbers of NumPy's or Python's own")


def test_two_sites_of_one_name():
    def model():
        numpyro.sample("a", dist.Normal())
        numpyro.sample("a", dist.Normal())

    (problem,) = _said(_fit, model)
    assert "model 'model' raised" in problem
    assert "'a'" in problem or "`a`" in problem


def test_a_start_without_a_density_names_the_site_and_the_value():
    def model(y):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", dist.Normal(a, -1.0 + 0.0 * y), obs=y)

    (problem,) = _said(_fit, model, X)
    assert problem.startswith(
        "no start has a finite log density: observed site 'y': log probability nan in 5 of 5 "
        "entries (first at (0,), (1,), (2,) and 2 more); value there 1, Normal with "
    )
    assert "scale -1" in problem


def test_a_bad_argument_of_one_part_of_a_mixture_is_named():
    def model(y):
        a = numpyro.sample("a", dist.Normal())
        parts = [dist.Normal(a, -1.0 + 0.0 * y), dist.Normal(a, 2.0)]
        shares = dist.Categorical(jnp.array([0.5, 0.5]))
        numpyro.sample("y", dist.MixtureGeneral(shares, parts), obs=y)

    (problem,) = _said(_fit, model, X)
    assert problem.endswith("Normal with loc 0, scale -1, Normal with loc 0, scale 2")


def test_data_outside_a_support_that_depends_on_a_latent():
    def model(y):
        top = numpyro.sample("top", dist.HalfNormal())
        numpyro.sample("y", dist.Uniform(0.0, top), obs=y)

    (problem,) = _said(_fit, model, np.array([0.2, -1.0]))
    assert problem.startswith(
        "no start has a finite log density: observed site 'y': 1 of 2 data lie outside the support "
        "of its distribution there (first at (1,)); value there -1, Uniform with low 0, high 1; "
        "mend them, or, where a latent sets the support"
    )


def test_a_support_that_holds_all_data_from_the_start_is_the_way_out(within_error):
    y = np.array([601.0, 590.0, 320.0, 45.0])

    def far_off(y):
        top = numpyro.sample("top", dist.HalfNormal(1000.0))
        numpyro.sample("y", dist.Uniform(0.0, top), obs=y)

    def mended(y):
        top = numpyro.sample("top", dist.TruncatedNormal(0.0, 1000.0, low=y.max()))
        numpyro.sample("y", dist.Uniform(0.0, top), obs=y)

    (problem,) = _said(_fit, far_off, y)
    line = 'top = numpyro.sample("top", dist.TruncatedNormal(0.0, 1000.0, low=y.max()))'
    assert problem.endswith(line)
    fit = _fit(mended, y)
    assert fit.trust == "trusted"
    grid = np.linspace(y.max(), 6000.0, 100_000)
    weights = np.exp(-0.5 * (grid / 1000.0) ** 2) / grid**4
    expected = np.sum(grid * weights) / np.sum(weights)
    summary = fit.summary()
    within_error(fit.mean("top"), expected, summary["top"]["mcse"])


def test_data_that_enter_no_density_are_noted():
    def model(x, y=None):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("z", dist.Normal(a, 1.0), obs=x)
        numpyro.sample("y", dist.Normal(a, 1.0))

    note = "no value of argument 'y' enters the log density; if it is data, is obs= missing?"
    fit = _fit(model, 1.0, y=2.0, checks=False)
    assert fit.notes == (note,)
    assert _fit(model, 2.0, y=3.0, checks=False).notes == (note,)
    assert _fit(line, X, y=X, checks=False).notes == ()


def test_a_factor_without_a_value_is_named():
    def model():
        a = numpyro.sample("a", dist.Normal())
        numpyro.factor("penalty", jnp.log(-1.0 - a**2))

    (problem,) = _said(_fit, model)
    assert problem.startswith(
        "no start has a finite log density: factor 'penalty': log probability nan in 1 of 1"
    )


def test_an_unknown_guide():
    assert _said(_fit, line, X, y=X, guide="ful-rank") == (
        "unknown guide 'ful-rank' (did you mean 'full-rank'?); guides: auto, full-rank, "
        "mean-field, low-rank, mixture, flow",
    )
    (problem,) = _said(_fit, line, X, y=X, guide=3)
    assert problem.startswith("unknown guide 3; guides: auto")
    (problem,) = _said(_fit, line, X, y=X, guide=line)
    assert "the guide's site 'y' has obs=" in problem


@pytest.mark.parametrize("seed", [-1, 1.5, "one", True])
def test_a_seed_that_is_none(seed):
    expected = f"seed must be a whole number, zero or more; got {seed!r}"
    assert _said(_fit, line, X, y=X, seed=seed) == (expected,)


@pytest.mark.parametrize("budget", [0, -2.0, "long"])
def test_a_budget_that_is_none(budget):
    expected = f"budget must be a positive number of seconds, or None; got {budget!r}"
    assert _said(_fit, line, X, y=X, budget=budget) == (expected,)


@pytest.mark.parametrize("option", ["modes", "progress", "checks"])
@pytest.mark.parametrize("value", ["no", 3, None])
def test_a_switch_that_is_neither_on_nor_off(option, value):
    expected = f"{option} must be True or False; got {value!r}"
    assert _said(taut.fit, line, X, y=X, **{option: value}) == (expected,)


def test_a_model_argument_with_the_name_of_an_option(same_to_rounding):
    def model(y, budget):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", dist.Normal(a, budget), obs=y)

    (problem,) = _said(_fit, model, X, budget=2.0)
    assert problem == (
        "the model's argument 'budget' has the name of an option of taut.fit; bind the model "
        "first: taut.fit(taut.target(model, ..., budget=...))"
    )

    def with_progress(y, progress):
        model(y, progress)

    (problem,) = _said(taut.fit, with_progress, X, progress=X)
    assert problem.startswith("the model's argument 'progress' has the name of an option")
    fit = _fit(taut.target(model, X, budget=2.0), checks=False)
    same_to_rounding(fit.guide.sd()[0], 1 / np.sqrt(1 + 5 / 4), np.float32)


def test_a_target_has_its_arguments_already():
    (problem,) = _said(_fit, taut.target(line, X, y=X), X)
    assert problem == "a target has its arguments already; pass it alone"


def test_all_problems_of_model_and_data_come_together():
    def model(x, y, counts):
        scale = numpyro.param("scale", 1.0)
        k = numpyro.sample("k", dist.Poisson(1.0))
        numpyro.sample("y", dist.Normal(k * x, scale), obs=y)
        numpyro.sample("counts", dist.Poisson(jnp.exp(x)), obs=counts)

    problems = _said(_fit, model, X, _with(0, np.nan), np.array([1, 2, 3, 4, -5]))
    assert len(problems) == 4
    text = "\n".join(problems)
    for part in ("param sites: scale", "sites cannot be fitted: k", "'y': the data", "4 is -5"):
        assert part in text
    with pytest.raises(taut.InputError, match=r"^4 problems:\n  1\. .*\n"):
        _fit(model, X, _with(0, np.nan), np.array([1, 2, 3, 4, -5]))


def test_all_problems_of_the_options_come_together():
    problems = _said(_fit, line, X, y=X, guide="flat", seed=-1, budget=-1)
    assert len(problems) == 3


def test_fit_refuses_to_run_inside_a_transformation():
    expected = (
        "taut.fit decides on the host what to do next, so it cannot run inside jax.jit, vmap or "
        "grad; call it outside"
    )

    def mean(y):
        return _fit(line, X, y=y).mean("a")

    assert _said(jax.jit(mean), X) == (expected,)
    assert _said(jax.vmap(mean), np.stack([X, X])) == (expected,)
    assert _said(jax.grad(mean), X) == (expected,)


def test_an_input_error_is_a_value_error_and_can_be_pickled():
    import pickle

    error = taut.InputError(["one", "two"])
    assert isinstance(error, ValueError)
    again = pickle.loads(pickle.dumps(error))
    assert again.problems == ("one", "two")
    assert str(again) == "2 problems:\n  1. one\n  2. two"


def test_a_table_whose_columns_are_asked_for_is_told():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"x": [0.0, 1.0, 2.0], "y": [1.0, 3.0, 5.0]})

    def by_name(rows):
        slope = numpyro.sample("slope", dist.Normal(0.0, 10.0))
        numpyro.sample("y", dist.Normal(slope * rows["x"], 1.0), obs=rows["y"])

    def wrong_otherwise(rows):
        numpyro.sample("y", dist.Normal(rows[:, 0], 1.0), obs=rows[:, 1])

    raised, told = _said(_fit, by_name, table)
    assert "IndexError" in raised or "TypeError" in raised
    assert told.startswith("argument 'rows' is a table of columns 'x', 'y'")
    assert not any("table" in problem for problem in _said(_fit, wrong_otherwise, table))


def test_data_outside_the_support_are_told_beside_nan():
    def model(y):
        rate = numpyro.sample("rate", dist.Gamma(2.0, 1.0))
        numpyro.sample("count", dist.Poisson(rate), obs=y)

    (said,) = _said(_fit, model, np.array([1.0, np.nan, -1.0, 2.5]))
    assert "NaN in 1 of 4 places, at row 1" in said
    assert "2 of 4 data lie outside the support" in said
    assert "row 2 is -1, row 3 is 2.5" in said
    # NaN alone is no value outside the support.
    (said,) = _said(_fit, model, np.array([1.0, np.nan, 2.0]))
    assert "outside" not in said
