"""A program as a graph: its sites, what each is made from, and the plates around them."""

import dataclasses
from collections.abc import Callable

from numpyro.infer.inspect import get_model_relations

from taut._core.errors import InputError

LATENT, OBSERVED, DETERMINISTIC, PARAM = "latent", "observed", "deterministic", "param"

# NumPyro splits a plate that crosses another in two, and marks the second part so.
_SECOND_PART = "__CLONE"


@dataclasses.dataclass(frozen=True)
class Node:
    """A site of a program.

    Attributes:
        name: its name.
        kind: "latent", "observed", "deterministic" or "param".
        label: the name of its distribution, or of a param's constraint.
        parents: the sites that it is made from.
    """

    name: str
    kind: str
    label: str
    parents: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Plate:
    """A plate.

    Attributes:
        name: its name.
        members: the sites in it, those of inner plates included.
    """

    name: str
    members: frozenset[str]


@dataclasses.dataclass(frozen=True)
class ProgramGraph:
    """A program as a graph.

    Attributes:
        nodes: the sites; params come first, the others in the program's order.
        plates: its plates, outer ones before those inside them.
    """

    nodes: tuple[Node, ...]
    plates: tuple[Plate, ...]

    def plates_of(self, name: str) -> tuple[Plate, ...]:
        """Return the plates around a site, outermost first."""
        return tuple(plate for plate in self.plates if name in plate.members)


def read_graph(program: Callable, args: tuple, kwargs: dict, params: bool) -> ProgramGraph:
    """Run a program without computing anything, and read its graph.

    Args:
        program: a NumPyro model or guide.
        args: its arguments.
        kwargs: its keyword arguments.
        params: whether params are to be among the nodes.

    Raises:
        InputError: no program was given.
    """
    if not callable(program):
        raise InputError(
            f"a program is a function with numpyro.sample statements; got {type(program).__name__}"
        )
    found = get_model_relations(program, args, kwargs)
    order = {name: i for i, name in enumerate((*found["param_constraint"], *found["sample_dist"]))}
    nodes = []
    if params:
        for name, constraint in found["param_constraint"].items():
            nodes.append(Node(name, PARAM, _bare(constraint) or "real", ()))
    for name, distribution in found["sample_dist"].items():
        parents = [*found["sample_sample"][name], *(found["sample_param"][name] if params else ())]
        parents = tuple(sorted(parents, key=order.__getitem__))
        kind = OBSERVED if name in found["observed"] else LATENT
        kind = DETERMINISTIC if distribution == "Deterministic" else kind
        nodes.append(Node(name, kind, distribution, parents))
    plates = [
        Plate(name.split(_SECOND_PART)[0], frozenset(members))
        for name, members in found["plate_sample"].items()
        if members
    ]
    return ProgramGraph(tuple(nodes), tuple(sorted(plates, key=lambda p: -len(p.members))))


def _bare(constraint: str) -> str:
    # "Positive(lower_bound=0.0)" says in its name what its bounds say.
    return constraint.split("(lower_bound=0.0)")[0].removesuffix("()")
