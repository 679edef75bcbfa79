"""From a plan to a compiled LangGraph: nodes and edges are what the plan asks for, nothing else."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from .agents.arbiter import Arbiter
from .agents.context import RunContext
from .agents.reasoner import Reasoner
from .agents.reranker import Reranker
from .agents.retriever import Retriever
from .agents.sequence import Agent, InSequence
from .agents.state import QueryState, Verdict
from .agents.verifier import Verifier
from .sla.plan import Arbitration, Plan, Verification

if TYPE_CHECKING:
    from langchain_core.runnables.graph import Graph
    from langgraph.graph import StateGraph
    from langgraph.graph.state import CompiledStateGraph

SPARE_STEPS = 2
"""Steps beyond a graph's longest path, for LangGraph's own input and output steps."""

LANE = "."
"""Parts the replica from the agent in the names of nodes, as in `replica_0.reasoner`."""


class QueryGraph:
    """A compiled graph, good for every plan of its shape."""

    def __init__(self, compiled: CompiledStateGraph[Any, Any, Any, Any], num_steps: int) -> None:
        self.compiled = compiled
        self.recursion_limit = num_steps + SPARE_STEPS

    async def run(self, context: RunContext) -> Verdict:
        """Run one round of a query. Raises what the agents raise; cancelling it cancels them."""
        state = await self.compiled.ainvoke(
            {"question": context.question},
            {"recursion_limit": self.recursion_limit},
            context=context,
            output_keys=["verdict"],
        )
        return state["verdict"]

    def get_graph(self) -> Graph:
        """Its nodes and edges, as LangChain draws them."""
        return self.compiled.get_graph()

    def draw_mermaid(self) -> str:
        """The graph in Mermaid's language."""
        return self.get_graph().draw_mermaid()


def build_graph(plan: Plan) -> QueryGraph:
    """The graph of `plan`; plans of one shape share it. What does not change the shape comes from the run context."""
    return _build(*plan.shape)


@cache
def _build(hops: int, replicas: int, rerank: bool, arbitration: Arbitration, verification: Verification) -> QueryGraph:
    from langgraph.graph import END, StateGraph

    graph = StateGraph(QueryState, context_schema=RunContext)
    ends = [_add_branch(graph, _branch(replica, hops, rerank, replicas)) for replica in range(replicas)]
    if replicas > 1:
        arbiter = f"arbiter_{arbitration}"
        graph.add_node(arbiter, Arbiter())
        graph.add_edge(ends, arbiter)
        ends = [arbiter]
    verifier = f"verifier_{verification}"
    graph.add_node(verifier, Verifier())
    graph.add_edge(ends[0], verifier)
    graph.add_edge(verifier, END)
    longest = hops + rerank + 1 + (replicas > 1) + 1
    return QueryGraph(graph.compile(checkpointer=False), longest)


def _branch(replica: int, hops: int, rerank: bool, replicas: int) -> list[tuple[str, Agent]]:
    """The agents of a replica, in order, with the names of their nodes."""
    prefix = "" if replicas == 1 else f"replica_{replica}{LANE}"
    branch: list[tuple[str, Agent]] = [
        (f"{prefix}retriever_{hop}", Retriever(replica, hop)) for hop in range(1, hops + 1)
    ]
    if not rerank:
        return [*branch, (f"{prefix}reasoner", Reasoner(replica))]
    if replicas == 1:
        return [*branch, ("reranker", Reranker(replica)), ("reasoner", Reasoner(replica))]
    return [*branch, (f"{prefix}reranker_reasoner", InSequence(Reranker(replica), Reasoner(replica)))]


def _add_branch(graph: StateGraph[Any, Any, Any, Any], branch: list[tuple[str, Agent]]) -> str:
    """Add a chain of nodes from the graph's start on; returns the last one's name."""
    from langgraph.graph import START

    previous = START
    for name, agent in branch:
        graph.add_node(name, agent)
        graph.add_edge(previous, name)
        previous = name
    return previous
