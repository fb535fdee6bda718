"""NaN and infinite arguments: told with all else that is wrong, and only where they do harm."""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro import handlers

import taut

X = np.arange(1.0, 6.0)
MEND = "drop those rows or put a finite value there and mask them"


def _with(position, value):
    y = X.copy()
    y[position] = value
    return y


def _problems(call, *args, **kwargs):
    with pytest.raises(taut.InputError) as caught:
        call(*args, **kwargs)
    return caught.value.problems


def _fit(*args, **kwargs):
    return taut.fit(*args, progress=False, **kwargs)


def line(x, sigma, y=None):
    a = numpyro.sample("a", dist.Normal())
    with numpyro.plate("rows", len(x)):
        numpyro.sample("y", dist.Normal(a * x, sigma), obs=y)


def masked(x, y, other):
    a = numpyro.sample("a", dist.Normal())
    seen = jnp.isfinite(x)
    with handlers.mask(mask=seen):
        numpyro.sample("x", dist.Normal(a, 1.0), obs=jnp.where(seen, x, 0.0))
    numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


def masked_too_late(x, y):
    a = numpyro.sample("a", dist.Normal())
    s = numpyro.sample("s", dist.HalfNormal())
    log_prob = dist.Normal(a, s).log_prob(x)
    numpyro.factor("x", jnp.where(jnp.isfinite(x), log_prob, 0.0).sum())
    numpyro.sample("y", dist.Normal(a, 1.0), obs=y)


def test_an_argument_is_told_once_with_the_site_it_reaches():
    (problem,) = _problems(_fit, line, _with(3, np.inf), X, y=X)
    assert problem == (
        "no start has a finite log density: argument 'x' is infinite in 1 of 5 places, at row 3; "
        "observed site 'y': log probability nan in 1 of 5 entries (first at (3,)); value there 4, "
        f"Normal with loc nan, scale 4; {MEND}"
    )


def test_arguments_are_told_with_the_observed_data():
    first, *others = _problems(
        taut.target, line, _with(1, np.inf), _with(0, np.nan), y=_with(2, np.nan)
    )
    assert first == f"site 'y': the data (y) are NaN in 1 of 5 places, at row 2; {MEND}"
    assert [other.split(";")[0] for other in others] == [
        "argument 'x' is infinite in 1 of 5 places, at row 1",
        "argument 'sigma' is NaN in 1 of 5 places, at row 0",
    ]


def test_data_outside_a_support_are_put_right_before_others_are_tried():
    def model(rate, y):
        a = numpyro.sample("a", dist.LogNormal(0.0, 1.0))
        numpyro.sample("y", dist.Poisson(a * rate), obs=y)

    outside, other = _problems(taut.target, model, _with(0, np.nan), np.array([1, -2, 3, 4, 5]))
    assert "row 1 is -2" in outside
    assert other.startswith("argument 'rate' is NaN in 1 of 5 places, at row 0; observed site 'y'")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_arguments_that_are_masked_or_unread_are_allowed(value):
    hidden = _with(0, value)
    assert _fit(masked, hidden, X, hidden, checks=False).notes
    (problem,) = _problems(_fit, masked, hidden, _with(4, value), hidden)
    assert problem.startswith("site 'y': ")
    (problem,) = _problems(_fit, masked, hidden, X, hidden, guide="flwo")
    assert problem.startswith("unknown guide 'flwo'")


def test_a_mask_after_the_arithmetic_is_told_what_to_do():
    for y, told in ((X, 0), (_with(0, np.nan), 1)):
        problem = _problems(_fit, masked_too_late, _with(2, np.nan), y)[told]
        assert (
            "argument 'x' is NaN in 1 of 5 places, at row 2; the log density is finite" in problem
        )
        assert problem.endswith("as in x = jnp.where(jnp.isfinite(x), x, 0.0)")
    put_right = jnp.where(jnp.isfinite(_with(2, np.nan)), _with(2, np.nan), 0.0)
    assert _fit(masked_too_late, put_right, X, checks=False)


@pytest.mark.parametrize("guide", ["ful-rank", lambda x, sigma, y=None: None])
def test_options_and_arguments_are_told_together(guide):
    problems = _problems(_fit, line, X, _with(2, np.nan), y=X, guide=guide, seed=-1)
    assert len(problems) >= 3
    assert "seed must be a whole number" in "".join(problems)
    assert problems[-1].startswith("argument 'sigma' is NaN")
    problems = _problems(_fit, line, X, X, y=_with(2, np.nan), guide=guide, budget=0)
    assert problems[-1].startswith("site 'y': the data (y) are NaN")
    assert len(problems) == 2 + isinstance(guide, str)


def _raises(x, sigma, y=None):
    raise KeyError("no such column")


def _discrete(x, sigma, y=None):
    k = numpyro.sample("k", dist.Poisson(1.0))
    numpyro.sample("y", dist.Normal(k * x, sigma), obs=y)


def _nowhere(x, sigma, y=None):
    a = numpyro.sample("a", dist.Normal())
    numpyro.sample("y", dist.Normal(a * x, -sigma), obs=y)


@pytest.mark.parametrize("model", [_raises, _discrete, _nowhere])
def test_where_nothing_can_be_computed_all_that_may_do_harm_are_told(model):
    problems = _problems(_fit, model, X, _with(2, np.nan), y=X)
    words = (
        "argument 'sigma' is NaN in 1 of 5 places, at row 2; where these enter the log density, "
        f"{MEND}"
    )
    assert len(problems) == 2
    assert any(problem.endswith(words) for problem in problems)


def test_a_call_that_the_model_does_not_take_is_told_with_its_arguments():
    problems = _problems(_fit, line, X, np.ma.masked_invalid(_with(1, np.nan)), yy=_with(2, np.nan))
    assert [problem.split(";")[0] for problem in problems] == [
        "the model takes no argument 'yy' (did you mean 'y'?)",
        "argument 'sigma' is a masked array, of which 1 of 5 values are masked, the first at (1,)",
        "argument 'yy' is NaN in 1 of 5 places, at row 2",
    ]


def test_nuts_says_the_same():
    said = _problems(_fit, line, _with(3, np.inf), X, y=X)
    assert _problems(taut.nuts, line, _with(3, np.inf), X, y=X, progress=False) == said


def test_data_of_a_log_density_are_named_by_their_place():
    def density(mean, data):
        return -jnp.sum((data["y"] - mean) ** 2)

    target = taut.from_log_density(
        density, 0.0, {"unread": _with(0, np.nan), "y": _with(2, np.inf)}
    )
    (problem,) = _problems(_fit, target)
    assert problem == (
        "no start has a finite log density: argument \"data['y']\" is infinite in 1 of 5 places, "
        f"at row 2; {MEND}"
    )


class _Broken(dist.Normal):
    def log_prob(self, value):
        raise RuntimeError("no density")


def test_a_density_that_fails_does_not_hide_a_wrong_option():
    def model(y=None):
        a = numpyro.sample("a", dist.Normal())
        numpyro.sample("y", _Broken(a, 1.0), obs=y)

    with pytest.raises(taut.InputError) as caught:
        taut.fit(model, np.ones(3), guide="flwo", progress=False)
    assert caught.value.problems[0].startswith("unknown guide 'flwo'")
