"""The graph is what the plan asks for."""

from __future__ import annotations

from itertools import combinations

import pytest

from slarag.graph import build_graph
from slarag.sla.plan import Plan

SHAPES = [
    Plan(),
    Plan(hops=2),
    Plan(rerank=True),
    Plan(verification="support"),
    Plan(replicas=2, arbitration="majority"),
    Plan(replicas=3, arbitration="majority"),
    Plan(replicas=3, arbitration="confidence"),
    Plan(replicas=3, arbitration="majority", hops=2),
    Plan(replicas=3, arbitration="majority", rerank=True),
]


@pytest.mark.parametrize(("one", "other"), list(combinations(SHAPES, 2)), ids=lambda plan: plan.key)
def test_graphs_of_two_shapes_differ(one: Plan, other: Plan) -> None:
    assert build_graph(one).draw_mermaid() != build_graph(other).draw_mermaid()


def test_plans_of_one_shape_share_a_graph() -> None:
    assert build_graph(Plan(passages=1, retrieval="dense")) is build_graph(Plan(passages=9))


def test_a_single_replica_is_a_chain_of_agents() -> None:
    nodes = list(build_graph(Plan(hops=2, rerank=True)).get_graph().nodes)
    assert nodes == ["__start__", "retriever_1", "retriever_2", "reranker", "reasoner", "verifier_span", "__end__"]


def test_replicas_are_parallel_branches_that_an_arbiter_joins() -> None:
    graph = build_graph(Plan(replicas=2, arbitration="confidence")).get_graph()
    edges = {(edge.source, edge.target) for edge in graph.edges}
    for replica in ("replica_0", "replica_1"):
        assert {("__start__", f"{replica}.retriever_1"), (f"{replica}.reasoner", "arbiter_confidence")} <= edges
    assert ("arbiter_confidence", "verifier_span") in edges


def test_the_number_of_steps_is_bounded_by_the_shape() -> None:
    assert build_graph(Plan()).recursion_limit < build_graph(Plan(hops=3, rerank=True)).recursion_limit < 10
