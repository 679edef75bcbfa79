"""The graph of a plan as one would write it in bare LangGraph: no budget, no events, no confidence, no failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypedDict

from _stubs import StubBackend, StubRetriever
from langgraph.graph import END, START, StateGraph

from slarag.backends.protocol import AnswerRequest, AnswerResult, VerifyRequest
from slarag.sla.evidence import Passage
from slarag.sla.plan import Plan


def merge(old: dict[int, Any], new: dict[int, Any]) -> dict[int, Any]:
    """The union of what the branches wrote."""
    return {**old, **new}


class State(TypedDict, total=False):
    """What flows through the graph."""

    question: str
    passages: Annotated[dict[int, list[Passage]], merge]
    results: Annotated[dict[int, AnswerResult], merge]
    winner: int
    answer: str


Node = Callable[[State], Awaitable[State]]


def handwritten(plan: Plan, retriever: StubRetriever, backend: StubBackend) -> Any:
    """The compiled graph; it has the nodes that slarag's has for `plan`."""
    graph = StateGraph(State)
    ends = [_branch(graph, plan, replica, retriever, backend) for replica in range(plan.replicas)]
    if plan.replicas > 1:
        graph.add_node("arbiter", _majority)
        graph.add_edge(ends, "arbiter")
        ends = ["arbiter"]
    graph.add_node("verifier", _verifier(plan, backend))
    graph.add_edge(ends[0], "verifier")
    graph.add_edge("verifier", END)
    return graph.compile()


def _branch(graph: Any, plan: Plan, replica: int, retriever: StubRetriever, backend: StubBackend) -> str:
    own = plan.replica(replica)
    width = own.passages * (3 if plan.rerank else 1)

    async def retrieve(state: State) -> State:
        known = state.get("passages", {}).get(replica, [])
        found = await retriever.retrieve(state["question"], method=own.retrieval, k=width)
        return {"passages": {replica: list({p.passage_id: p for p in [*known, *found]}.values())[:width]}}

    async def rerank(state: State) -> State:
        passages = state["passages"][replica]
        result = await backend.answer(AnswerRequest(question=state["question"], passages=tuple(passages)))
        best = sorted(passages, key=lambda p: -result.answerability[p.passage_id])
        return {"passages": {replica: best[: own.passages]}}

    async def read(state: State) -> State:
        request = AnswerRequest(question=state["question"], passages=tuple(state["passages"][replica]))
        return {"results": {replica: await backend.answer(request)}}

    async def rerank_and_read(state: State) -> State:
        return await read({**state, **(await rerank(state))})

    chain: list[Node] = [retrieve] * plan.hops
    if plan.rerank:
        chain += [rerank, read] if plan.replicas == 1 else [rerank_and_read]
    else:
        chain += [read]
    return _add(graph, replica, chain)


def _add(graph: Any, replica: int, chain: list[Node]) -> str:
    previous = START
    for step, node in enumerate(chain):
        name = f"{replica}-{step}"
        graph.add_node(name, node)
        graph.add_edge(previous, name)
        previous = name
    return previous


async def _majority(state: State) -> State:
    texts = {replica: result.candidates[0].text.lower() for replica, result in state["results"].items()}
    best = Counter(texts.values()).most_common(1)[0][0]
    return {"winner": next(replica for replica, text in texts.items() if text == best)}


def _verifier(plan: Plan, backend: StubBackend) -> Node:
    async def verify(state: State) -> State:
        replica = state.get("winner", 0)
        candidate = state["results"][replica].candidates[0]
        span = candidate.spans[0]
        passage = next(p for p in state["passages"][replica] if p.passage_id == span.passage_id)
        stands = passage.text[span.start : span.end] == candidate.text
        if stands and plan.verification == "support":
            request = VerifyRequest(question=state["question"], answer=candidate.text, evidence=(passage,))
            stands = (await backend.verify(request)).supported > 0.5
        return {"answer": candidate.text if stands else ""}

    return verify
