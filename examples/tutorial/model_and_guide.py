"""Page 8. A model and a guide, side by side.

A guide must draw every latent of the model, in the model's shapes, and may link them as it likes.
Whether it does is easier to see than to read. `render_model` runs both programs without computing
anything and shows what each site is made from: ellipses are samples, grey ones are observed, boxes
are plates, plain names are params.

Three things to look for. Every white ellipse on the left has one on the right. What nothing on the
right links is independent in the guide, whatever the posterior says. And what an autoguide does
becomes plain: one latent vector, cut into the model's sites, so that all of them may be correlated.

Print the result where there is no screen; `render_model(..., filename="graph.dot")` writes what
Graphviz reads.

Run it with `python model_and_guide.py`; `--short` is no quicker here.
"""

from collections.abc import Sequence

import numpyro
import numpyro.distributions as dist
from eight_groups import GROUPS, model, simulate
from numpyro.distributions import constraints
from page import read_options

from taut.guides import on_support
from taut.infer import autoguide, render_model


def spread(name: str) -> dist.Distribution:
    """A Normal distribution carried onto the positive numbers."""
    loc = numpyro.param(f"{name}_loc", 0.0)
    return on_support(dist.Normal(loc, 0.5), constraints.positive)


def linked(group, x, error, y=None):
    """A guide in which the groups know of the population, as in the model."""
    numpyro.sample("slope_sd", spread("slope_sd"))
    numpyro.sample("offset_sd", spread("offset_sd"))
    slope_mean = numpyro.sample("slope_mean", dist.Normal(numpyro.param("slope_loc", 0.0), 0.1))
    offset_mean = numpyro.sample("offset_mean", dist.Normal(numpyro.param("offset_loc", 9.0), 0.5))
    with numpyro.plate("groups", GROUPS):
        numpyro.sample("slope", dist.Normal(slope_mean, 0.2))
        numpyro.sample("offset", dist.Normal(offset_mean, 1.0))


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Draw the model of page 7 beside a guide made by hand, and beside an autoguide."""
    page = read_options(arguments)
    data = simulate(0)
    by_hand = render_model(model, model_kwargs=data, guide=linked, render_params=True)
    print(by_hand)
    page.save(by_hand.figure(), "model_and_guide")
    auto = autoguide.AutoMultivariateNormal(model)
    made = render_model(model, model_kwargs=data, guide=auto, render_params=True)
    page.save(made.figure(), "model_and_autoguide")
    return {title: len(graph.nodes) for title, graph in by_hand.graphs.items()}


if __name__ == "__main__":
    main()
