"""Graphs of programs: what they hold, and that nothing in the picture lies on something else."""

import importlib.util
import itertools

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
import pytest
from numpyro.infer.inspect import generate_graph_specification, get_model_relations
from programs import PAIRS, Y

from taut._core.errors import InputError
from taut.infer import autoguide, render_model
from taut.infer.rendering.layout import lay_out


def nested(y):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("schools", 2, dim=-2):
        a = numpyro.sample("a", dist.Normal(mu, tau))
        doubled = numpyro.deterministic("doubled", 2.0 * a)
        s = numpyro.sample("s", dist.HalfNormal(1.0))
        with numpyro.plate("pupils", 3, dim=-1):
            z = numpyro.sample("z", dist.Normal(doubled, s))
            numpyro.sample("y", dist.Normal(z, 1.0), obs=jnp.reshape(y, (2, 3)))
    numpyro.sample("beside", dist.Normal(mu, 1.0), obs=1.0)


def two_plates(y):
    with numpyro.plate("left", 2):
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
        numpyro.sample("b", dist.Normal(a, 1.0))
    with numpyro.plate("right", 3):
        c = numpyro.sample("c", dist.Normal(0.0, 1.0))
        numpyro.sample("d", dist.Normal(c, 1.0))
    numpyro.sample("y", dist.Normal(a.sum() + c.sum(), 1.0), obs=y[0])


def crossed(y):
    rows, columns = numpyro.plate("rows", 2, dim=-2), numpyro.plate("columns", 3, dim=-1)
    with rows:
        a = numpyro.sample("a", dist.Normal(0.0, 1.0))
    with columns:
        b = numpyro.sample("b", dist.Normal(0.0, 1.0))
    with rows, columns:
        numpyro.sample("y", dist.Normal(a + b, 1.0), obs=jnp.reshape(y, (2, 3)))


PROGRAMS = {
    "nested": nested,
    "two plates": two_plates,
    "crossed": crossed,
    **{f"{name} model": pair[0] for name, pair in PAIRS.items()},
    **{f"{name} guide": pair[1] for name, pair in PAIRS.items()},
    "autoguide": autoguide.AutoMultivariateNormal(PAIRS["hierarchy"][0]),
}


def _graph(program, **options):
    (graph,) = render_model(program, (Y,), **options).graphs.values()
    return graph


@pytest.mark.parametrize("name", PROGRAMS)
def test_sites_and_edges_are_those_that_numpyro_finds(name):
    program = PROGRAMS[name]
    graph = _graph(program, render_params=True)
    found = generate_graph_specification(get_model_relations(program, (Y,)), render_params=True)
    nodes = {node.name: node for node in graph.nodes}
    assert nodes.keys() == found["node_data"].keys()
    edges = {(parent, node.name) for node in graph.nodes for parent in node.parents}
    assert edges == set(found["edge_list"])
    assert {n for n, node in nodes.items() if node.kind == "observed"} == {
        n for n, data in found["node_data"].items() if data["is_observed"]
    }


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("width", [1.0, 3.0])
def test_nothing_lies_on_something_else(name, width):
    graph = _graph(PROGRAMS[name], render_params=True)
    # Every other node is wide.
    widths = {node.name: width if i % 2 else 1.0 for i, node in enumerate(graph.nodes)}
    layout = lay_out(graph, widths)
    half = {n: w / 2 - 1e-6 for n, w in widths.items()}
    for node in graph.nodes:
        assert all(layout.rows[parent] < layout.rows[node.name] for parent in node.parents)
        assert half[node.name] <= layout.columns[node.name] <= layout.width - half[node.name]
    for one, other in itertools.combinations(widths, 2):
        if layout.rows[one] == layout.rows[other]:
            apart = abs(layout.columns[one] - layout.columns[other])
            assert apart >= half[one] + half[other]
    for box in layout.boxes:
        for n in widths:
            inside = (
                box.top <= layout.rows[n] <= box.bottom
                and box.left < layout.columns[n] + half[n]
                and layout.columns[n] - half[n] < box.right
            )
            assert inside == (n in box.plate.members)
    for one, other in itertools.combinations(layout.boxes, 2):
        if not one.plate.members & other.plate.members:
            rows_apart = one.bottom < other.top or other.bottom < one.top
            assert rows_apart or one.right < other.left or other.right < one.left


def test_it_reads_as_text_plate_by_plate():
    assert str(render_model(nested, (Y,))).splitlines() == [
        "mu ~ Normal",
        "tau ~ HalfNormal",
        "plate schools:",
        "  a ~ Normal from mu, tau",
        "  doubled = from a",
        "  s ~ HalfNormal",
        "  plate pupils:",
        "    z ~ Normal from doubled, s",
        "    y ~ Normal from z, observed",
        "beside ~ Normal from mu, observed",
    ]


def test_model_and_guide_stand_side_by_side(tmp_path):
    model, guide = PAIRS["hierarchy"]
    files = [tmp_path / f"pair.{suffix}" for suffix in ("png", "svg", "dot", "txt")]
    for file in files:
        result = render_model(
            model,
            model_kwargs={"y": Y},
            filename=file,
            render_distributions=True,
            render_params=True,
            guide=guide,
        )
    assert [*result.graphs] == ["model", "guide"]
    assert all(file.stat().st_size > 100 for file in files)
    text, source = files[3].read_text(), files[2].read_text()
    assert "  param theta_loc in real" in text
    assert source == result.source
    assert source.count("{") == source.count("}")
    assert '"model/tau" -> "model/theta"' in source
    assert '"guide/tau" -> "guide/theta"' in source


def test_without_matplotlib_a_notebook_shows_the_text(monkeypatch):
    result = render_model(nested, (Y,))
    assert result._repr_png_()[0].startswith(b"\x89PNG")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert result._repr_png_() is None
    assert repr(result) == str(result)


def test_what_cannot_be_shown_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"writes \.pdf, \.png"):
        render_model(nested, (Y,), filename=tmp_path / "graph.jpeg")
    with pytest.raises(InputError, match="got int"):
        render_model(3)


def test_an_empty_program_has_an_empty_picture():
    result = render_model(lambda: None)
    assert str(result) == ""
    assert result.figure().get_size_inches().min() > 0
