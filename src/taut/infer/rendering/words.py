"""A program's graph as text, for people and for Graphviz."""

from taut.infer.rendering.program_graph import (
    DETERMINISTIC,
    OBSERVED,
    PARAM,
    Node,
    Plate,
    ProgramGraph,
)

_SHAPES = {
    PARAM: "shape=plain",
    DETERMINISTIC: "shape=ellipse style=dashed",
    OBSERVED: "shape=ellipse style=filled fillcolor=grey",
}


def describe(graph: ProgramGraph) -> str:
    """Return a line for each site, indented by the plates around it."""
    lines: list[str] = []
    inside: tuple[Plate, ...] = ()
    for node in graph.nodes:
        around = graph.plates_of(node.name)
        for depth, plate in enumerate(around):
            if plate not in inside[: depth + 1]:
                lines.append(f"{'  ' * depth}plate {plate.name}:")
        inside = around
        lines.append(f"{'  ' * len(around)}{_sentence(node)}")
    return "\n".join(lines)


def _sentence(node: Node) -> str:
    if node.kind == PARAM:
        return f"param {node.name} in {node.label}"
    made = f" from {', '.join(node.parents)}" if node.parents else ""
    if node.kind == DETERMINISTIC:
        return f"{node.name} ={made}"
    data = ", observed" if node.kind == OBSERVED else ""
    return f"{node.name} ~ {node.label}{made}{data}"


def dot_source(graphs: dict[str, ProgramGraph]) -> str:
    """Return graphs in the language of Graphviz, each in a frame with its title."""
    lines = ["digraph {"]
    for i, (title, graph) in enumerate(graphs.items()):
        # The same site is another node in model and guide.
        prefix = f"{title}/" if title else ""
        body = _plate_lines(graph, list(graph.plates), [n.name for n in graph.nodes], prefix)
        body += [
            f"{_quote(prefix + parent)} -> {_quote(prefix + node.name)}"
            for node in graph.nodes
            for parent in node.parents
        ]
        if title:
            body = [f"subgraph cluster_{i} {{", f"  label={_quote(title)}", *_indent(body), "}"]
        lines += _indent(body)
    return "\n".join([*lines, "}", ""])


def _plate_lines(
    graph: ProgramGraph, plates: list[Plate], names: list[str], prefix: str
) -> list[str]:
    lines: list[str] = []
    taken: set[str] = set()
    for i, plate in enumerate(plates):
        members = [n for n in names if n in plate.members and n not in taken]
        if not members:
            continue
        inner = [p for p in plates[i + 1 :] if p.members <= plate.members]
        taken.update(members)
        lines += [
            f"subgraph {_quote('cluster_' + prefix + plate.name + '_' + members[0])} {{",
            f"  label={_quote(plate.name)} labeljust=r labelloc=b",
            *_indent(_plate_lines(graph, inner, members, prefix)),
            "}",
        ]
    for node in graph.nodes:
        if node.name in names and node.name not in taken:
            looks = _SHAPES.get(node.kind, "shape=ellipse")
            lines.append(f"{_quote(prefix + node.name)} [label={_quote(node.name)} {looks}]")
    return lines


def _indent(lines: list[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
