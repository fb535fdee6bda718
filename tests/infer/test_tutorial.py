"""The pages of `examples/tutorial` run, and their programs find the known answers."""

import importlib
import math
from pathlib import Path

import jax
import matplotlib
import numpy as np
import pytest

from taut._core.xla_options import ONCE, known_options
from taut.infer import SVI, Trace_ELBO, autoguide, optim, svi_program

PAGES = Path(__file__).parents[2] / "examples" / "tutorial"
NAMES = (
    "convergence",
    "draws_three_ways",
    "eight_groups",
    "full_rank_guide",
    "heads_or_tails",
    "line_with_outliers",
    "model_and_guide",
    "rotated_modes",
)


@pytest.fixture(autouse=True)
def pages(monkeypatch):
    monkeypatch.syspath_prepend(str(PAGES))
    matplotlib.use("Agg")
    return importlib.import_module


def _run(svi, steps, **options):
    return svi.run(jax.random.key(1), steps, progress_bar=False, **options)


def _last(losses, count):
    last = np.asarray(losses[-count:])
    return float(last[np.isfinite(last)].mean())


@pytest.fixture
def quiet(monkeypatch):
    # The progress line would go to pytest's own stream.
    original = SVI.run
    monkeypatch.setattr(SVI, "run", lambda *a, **k: original(*a, progress_bar=False, **k))
    # Few steps are made, and compiling them well would be most of the time.
    monkeypatch.setattr(svi_program, "loop_options", lambda _: known_options(ONCE))


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", NAMES)
def test_a_page_runs_and_saves_its_figure(name, pages, tmp_path, capsys):
    found = pages(name).main(["--short", "--out", str(tmp_path)])
    assert all(np.isfinite(value).all() for part in found.values() for value in _numbers(part))
    assert (tmp_path / f"{name}.png").stat().st_size > 5000
    assert capsys.readouterr().out
    assert f"({name}.png)" in (PAGES / "README.md").read_text()
    assert (PAGES / f"{name}.png").exists()


def _numbers(part):
    return part.values() if isinstance(part, dict) else [part]


def test_the_coin_is_learned(pages):
    page = pages("heads_or_tails")
    svi = SVI(page.model, page.beta_guide, optim.Adam(5e-4), Trace_ELBO())
    result = svi.run(jax.random.key(1), 10_000, page.TOSSES, progress_bar=False)
    # The posterior is Beta(13, 9); ten per cent is what so short a run with one particle leaves.
    assert float(result.params["A"]) == pytest.approx(13.0, rel=0.1)
    assert float(result.params["B"]) == pytest.approx(9.0, rel=0.1)
    evidence = math.lgamma(22) - math.lgamma(13) - math.lgamma(9)
    assert _last(result.losses, 2000) == pytest.approx(evidence, abs=0.01)
    normal = SVI(page.model, page.normal_guide, optim.Adam(5e-4), Trace_ELBO())
    params = normal.run(jax.random.key(1), 20_000, page.TOSSES, progress_bar=False).params
    # Known to two decimals from a long run, and the last step's own noise is 0.005.
    assert float(params["mean"]) == pytest.approx(0.59, abs=0.02)
    assert float(params["sd"]) == pytest.approx(0.10, abs=0.02)


def test_turned_modes_are_learned(pages):
    page = pages("rotated_modes")
    svi = SVI(page.ridges, page.guide, optim.Adam(1e-3), Trace_ELBO(num_particles=16))
    result = _run(svi, 10_000)
    params = {name: float(value) for name, value in result.params.items()}
    # The guide holds the target, so the loss ends at minus the log evidence, and noise dies out.
    exact = math.log(400.0) - math.log(2 * math.pi * page.WIDTH * page.LENGTH)
    assert _last(result.losses, 500) == pytest.approx(exact, abs=0.02)
    assert params["b"] == pytest.approx(page.PLACE, abs=0.05)
    assert params["sigma_1"] == pytest.approx(page.WIDTH, abs=0.05)
    assert math.degrees(params["angle"]) == pytest.approx(45.0, abs=1.5)


def test_a_turned_ellipse_is_learned(pages):
    page = pages("full_rank_guide")
    guide = autoguide.AutoMultivariateNormal(page.ellipse)
    result = _run(SVI(page.ellipse, guide, optim.Adam(5e-3), Trace_ELBO(num_particles=8)), 4000)
    tril = np.asarray(result.params["auto_scale_tril"])
    short, long, angle = page.axes_of(tril @ tril.T)
    assert _last(result.losses, 500) == pytest.approx(-math.log(6 * math.pi), abs=0.02)
    # The step size leaves a jitter of about 0.02 of each.
    assert short == pytest.approx(1.0, rel=0.1)
    assert long == pytest.approx(3.0, rel=0.1)
    assert angle == pytest.approx(45.0, abs=3.0)
