"""The examples that fit a guide function reach the exact answer written beside them."""

import numpy as np
import pytest
from example_guides import example


def test_the_inclination_is_that_of_the_grid(tmp_path):
    script = example("inclination")
    found = script.fit()
    mean, sd = script.exact_moments()
    _, _, log_evidence = script.exact()
    row = found.summary().to_frame().loc["i"]
    effective = float(row["ess"])
    assert found.trust != "not trusted"
    assert abs(found.mean("i") - mean) < 5 * sd / np.sqrt(effective)
    # The sd of an sd is sd / sqrt(2 n) for a Normal; the posterior's tails are lighter.
    assert abs(found.sd("i") - sd) < 5 * sd / np.sqrt(2 * effective)
    assert abs(found.log_evidence[0] - log_evidence) < 5 * found.log_evidence[1]
    script.picture(found, tmp_path / "angle.png")
    assert (tmp_path / "angle.png").stat().st_size > 1000


def test_the_turned_modes_have_their_parameters(tmp_path):
    script = example("turned_modes")
    found = script.fit()
    fitted = {name: float(found.guide.params[name]) for name in script.EXACT}
    # What the fit leaves is within its tolerance of 0.01 nat: sqrt(2 * 0.01) of a unit.
    assert fitted == pytest.approx(script.EXACT, abs=0.02)
    assert abs(found.log_evidence[0]) < 5 * found.log_evidence[1] + 1e-5
    script.picture(found, tmp_path / "modes.png")
    assert (tmp_path / "modes.png").stat().st_size > 1000
