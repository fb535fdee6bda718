"""Flows and annealing, trained, beside NumPyro's from the same starting point, key and data."""

import functools

import jax
import numpy as np
import numpyro.infer
import pytest
from autoguide_models import PAIR, hierarchy

import taut.infer
from taut._core.xla_options import ONCE, known_options
from taut.infer import optim

GUIDES = {
    "AutoDAIS": {"K": 3},
    "AutoBNAFNormal": {"hidden_factors": [3]},
    "AutoIAFNormal": {"num_flows": 2},
}
FIRST, STEPS, LAST = 100, 600, 200


def _svi(library, kind):
    guide = getattr(library.autoguide, kind)(hierarchy, **GUIDES[kind])
    return library.SVI(hierarchy, guide, optim.Adam(0.01), library.Trace_ELBO(num_particles=8))


def _batch_error(values):
    means = np.array([part.mean() for part in np.array_split(values, 10)])
    return means.std(ddof=1) / np.sqrt(len(means))


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("AutoDAIS", marks=pytest.mark.slow),
        pytest.param("AutoBNAFNormal", marks=pytest.mark.slow),
        "AutoIAFNormal",
    ],
)
def test_trained_losses_are_those_of_numpyro(kind, monkeypatch, same_to_rounding, within_error):
    # Compiling is most of the time.
    monkeypatch.setattr(taut.infer.svi_program, "loop_options", lambda _: known_options(ONCE))
    key = jax.random.key(3)
    reference = _svi(numpyro.infer, kind)

    @functools.partial(jax.jit, compiler_options=known_options(ONCE))
    def run(key):
        state = reference.init(key, y=PAIR)
        result = reference.run(key, STEPS, y=PAIR, init_state=state, progress_bar=False)
        return reference.get_params(state), result.losses

    start, losses = run(key)
    theirs = np.asarray(losses, float)
    # Networks start at random numbers that are drawn in another order: take NumPyro's.
    result = _svi(taut.infer, kind).run(key, STEPS, y=PAIR, init_params=start, progress_bar=False)
    ours = np.asarray(result.losses, float)
    # Every step carries its rounding on to all that follow.
    same_to_rounding(ours[:FIRST], theirs[:FIRST], np.float32, condition=10.0)
    # Later the two have parted, and agree like runs on other noise.
    ours, theirs = ours[-LAST:], theirs[-LAST:]
    error = np.hypot(_batch_error(ours), _batch_error(theirs))
    within_error(ours.mean(), theirs.mean(), error)
