"""A plan's graph as text: replicas as lanes between the agents that all of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from ..sla.plan import Plan

ARROW = " ─▶ "


def graph_view(plan: Plan) -> Text:
    """The graph that runs `plan`, drawn from the compiled one, then in Mermaid's language."""
    from ..graph import build_graph

    graph = build_graph(plan)
    names = [node for node in graph.get_graph().nodes if not node.startswith("__")]
    return Text(lanes(names)).append("\n\n" + graph.draw_mermaid().rstrip(), style="dim")


def lanes(names: list[str]) -> str:
    """Node names in order, as a chain; those named `replica:agent` become parallel lanes.

    The shared agents follow the lanes, as they do in every graph with replicas.
    """
    shared = [name for name in names if ":" not in name]
    replicas: dict[str, list[str]] = {}
    for name in names:
        replica, _, agent = name.partition(":")
        if agent and not agent.startswith("__"):
            replicas.setdefault(replica, []).append(agent)
    if not replicas:
        return ARROW.join(["question", *shared, "answer"])
    rows = [f"{replica}: {ARROW.join(agents)}" for replica, agents in replicas.items()]
    return _between("question ", rows, ARROW.join(["", *shared, "answer"]))


def _between(left: str, rows: list[str], right: str) -> str:
    width, middle = max(map(len, rows)), len(rows) // 2
    lines: list[str] = []
    for at, row in enumerate(rows):
        opening = "┌" if at == 0 else "└" if at == len(rows) - 1 else "├"
        closing = "┐" if at == 0 else "┘" if at == len(rows) - 1 else "┤"
        before = left if at == middle else " " * len(left)
        lines.append(f"{before}{opening} {row:<{width}} {closing}{right if at == middle else ''}".rstrip())
    return "\n".join(lines)
