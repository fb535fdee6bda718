"""A step that is not finite: one retry with steps a tenth as long, where that can help."""

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import numpyro.infer
import pytest
from seeds import EACH_SEED

from taut.infer import SVI, Trace_ELBO, optim
from taut.infer.shorter import can_shorten, shortened


def model(data):
    numpyro.sample("x", dist.Normal(0.0, 1.0))
    numpyro.factor("data", jnp.sum(data))


def guide(data):
    # Nothing keeps the scale positive: a long step makes it negative.
    numpyro.sample("x", dist.Normal(numpyro.param("loc", 0.0), numpyro.param("sc", 0.1)))


def run(step, seed, steps=600, data=0.0, guide=guide):
    svi = SVI(model, guide, step, Trace_ELBO())
    return svi.run(jax.random.key(seed), steps, jnp.asarray(data), progress_bar=False)


@EACH_SEED
def test_a_run_goes_on_with_steps_a_tenth_as_long_and_says_so(seed, same_to_rounding):
    result = run(optim.SGD(0.5), seed)
    reference = numpyro.infer.SVI(model, guide, optim.SGD(0.5), numpyro.infer.Trace_ELBO())
    losses = reference.run(jax.random.key(seed), 600, jnp.zeros(()), progress_bar=False).losses
    failed = int(np.flatnonzero(~np.isfinite(losses))[0]) + 1
    # Losses before the failure are NumPyro's.
    same_to_rounding(result.losses[: failed - 1], losses[: failed - 1], np.float32, condition=10)
    text = result.verdict.message
    assert f"Step {failed} was not finite: guide site 'x': the scale of Normal is -" in text
    assert "made from param sc" in text
    assert "declare 'sc' with constraint=dist.constraints.positive" in text
    assert f"from step {failed - 1} on the steps were a tenth as long" in text
    assert result.verdict.reason in ("steps", "converged")
    assert len(result.losses) == 600
    assert np.isfinite(result.losses).all()
    assert float(result.params["sc"]) > 0


def from_the_start(data):
    numpyro.sample("x", dist.Normal(numpyro.param("loc", 0.0), numpyro.param("sc", -1.0)))


def test_what_fails_from_the_start_is_not_retried():
    for result in (
        run(optim.SGD(0.5), 0, data=np.nan),
        run(optim.SGD(0.5), 0, 600, 0.0, from_the_start),
    ):
        assert result.verdict.reason == "non-finite"
        assert len(result.losses) == 1
        assert "tenth" not in result.verdict.message


def test_data_that_are_not_finite_are_not_retried():
    # The mask hides the bad value from the loss, so that the step size is what fails.
    result = run(optim.SGD(0.5), 0, data=[np.nan, 0.0], guide=lambda data: guide(data))
    assert "tenth" not in result.verdict.message


OPTIMISERS = {
    "SGD": lambda step: optim.SGD(step),
    "Momentum": lambda step: optim.Momentum(step, 0.9),
    "Adam": lambda step: optim.Adam(step),
    "ClippedAdam": lambda step: optim.ClippedAdam(step),
    "RMSProp": lambda step: optim.RMSProp(step),
    "Adagrad": lambda step: optim.Adagrad(step),
}


@pytest.mark.parametrize("name", OPTIMISERS)
def test_shortened_steps_are_those_of_a_tenth_of_the_step_size(name, same_to_rounding):
    long, short = OPTIMISERS[name](0.2), OPTIMISERS[name](0.02)
    params = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(0.5)}
    ours, theirs = long.init(params), short.init(params)
    assert can_shorten(long, ours)
    for _ in range(20):
        gradient = jax.tree.map(jnp.sinh, long.get_params(ours))
        ours = shortened(long, ours, long.update(gradient, ours))
        theirs = short.update(jax.tree.map(jnp.sinh, short.get_params(theirs)), theirs)
    for name, value in short.get_params(theirs).items():
        same_to_rounding(long.get_params(ours)[name], value, np.float32, condition=20)


def test_an_optimiser_that_hides_its_params_is_not_shortened():
    hidden = optim.Minimize()
    assert not can_shorten(hidden, hidden.init({"a": jnp.ones(2)}))
