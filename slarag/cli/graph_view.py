"""A plan's graph as text: its replicas as lanes between the agents that all of them share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.text import Text

if TYPE_CHECKING:
    from ..sla.plan import Plan

ARROW = " ─▶ "
START, END = "__start__", "__end__"


def graph_view(plan: Plan) -> Text:
    """The graph that runs `plan`, drawn from the compiled one."""
    from ..graph import build_graph

    drawn = lanes([(edge.source, edge.target) for edge in build_graph(plan).get_graph().edges])
    return Text(drawn, no_wrap=True, overflow="ignore")


def mermaid_text(plan: Plan) -> str:
    """The graph that runs `plan` in Mermaid's language."""
    from ..graph import build_graph

    return build_graph(plan).draw_mermaid()


def lanes(edges: Sequence[tuple[str, str]]) -> str:
    """Edges from `__start__` to `__end__` as a chain, with parallel lanes from the start to where they join."""
    followers: dict[str, list[str]] = {}
    for source, target in edges:
        followers.setdefault(source, []).append(target)
    joins = {target for target, count in Counter(target for _, target in edges).items() if count > 1}
    branches = [list(_chain(first, followers, joins)) for first in sorted(followers[START])]
    if len(branches) == 1:
        return ARROW.join(["question", *branches[0], "answer"])
    join = followers[branches[0][-1]][0]
    tail = list(_chain(join, followers, joins - {join}))
    return _between("question ", [_lane(branch) for branch in branches], ARROW.join(["", *tail, "answer"]))


def _lane(branch: Sequence[str]) -> str:
    """A lane whose nodes are all named after their replica says its name once."""
    replica = branch[0].partition(".")[0] + "."
    if not all(node.startswith(replica) for node in branch):
        return ARROW.join(branch)
    return f"{replica[:-1]}: {ARROW.join(node.removeprefix(replica) for node in branch)}"


def _chain(node: str, followers: Mapping[str, list[str]], stops: set[str]) -> Iterator[str]:
    while node != END and node not in stops:
        yield node
        node = followers[node][0]


def _between(left: str, rows: Sequence[str], right: str) -> str:
    width, middle = max(map(len, rows)), len(rows) // 2
    lines: list[str] = []
    for at, row in enumerate(rows):
        opening = "┌" if at == 0 else "└" if at == len(rows) - 1 else "├"
        closing = "┐" if at == 0 else "┘" if at == len(rows) - 1 else "┤"
        before = left if at == middle else " " * len(left)
        lines.append(f"{before}{opening} {row:<{width}} {closing}{right if at == middle else ''}".rstrip())
    return "\n".join(lines)
