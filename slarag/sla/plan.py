"""Plans: the parameters that one query runs with, and the space they are chosen from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from typing import Literal, get_args

from .errors import PlanError

RetrievalMethod = Literal["lexical", "dense", "hybrid"]
Arbitration = Literal["first", "majority", "confidence", "jury"]
Verification = Literal["span", "support"]

MAX_PASSAGES = 64
MAX_REPLICAS = 5
MAX_HOPS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Replica:
    """How one replica of retriever and reasoner differs from its siblings.

    passages: read by its reasoner. model: index into the engine's models, taken modulo their number.
    """

    retrieval: RetrievalMethod
    passages: int
    model: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The parameters of one query; every field changes what runs.

    retrieval: the first replica's method; later replicas take the other methods in turn.
    passages: how many passages a reasoner reads. rerank: read three times as many candidates for answerability first.
    hops: retrieval rounds; from the second on, what was found feeds the query. replicas: independent readings.
    arbitration: how replicas are settled. verification: `span` checks quotes, `support` also asks the model.
    escalations: how often the mapper may be asked again for a larger plan. compute_budget: the share of the full
    model's FLOPs that a reading may cost, for a reader with a null expert.
    """

    retrieval: RetrievalMethod = "hybrid"
    passages: int = 4
    rerank: bool = False
    hops: int = 1
    replicas: int = 1
    arbitration: Arbitration = "first"
    verification: Verification = "span"
    escalations: int = 0
    compute_budget: float = 1.0

    def __post_init__(self) -> None:
        _check_choice("retrieval", self.retrieval, get_args(RetrievalMethod))
        _check_choice("arbitration", self.arbitration, get_args(Arbitration))
        _check_choice("verification", self.verification, get_args(Verification))
        _check_range("passages", self.passages, 1, MAX_PASSAGES)
        _check_range("hops", self.hops, 1, MAX_HOPS)
        _check_range("replicas", self.replicas, 1, MAX_REPLICAS)
        _check_range("escalations", self.escalations, 0, 3)
        if not _is_number(self.compute_budget) or not 0 < self.compute_budget <= 1:
            raise PlanError(
                f"compute_budget {self.compute_budget!r} is out of range", remedy="use a share above 0, at most 1"
            )
        if not isinstance(self.rerank, bool):
            raise PlanError(f"rerank {self.rerank!r} is neither true nor false", remedy="use one of the two")
        if self.replicas == 1 and self.arbitration != "first":
            raise PlanError(
                f"arbitration {self.arbitration!r} needs more than one replica", remedy="set replicas to 2 or more"
            )
        if _finds_what_is_not_read(self.passages, self.hops, rerank=self.rerank):
            raise PlanError(
                f"hops {self.hops} needs more than one passage: nothing that a later hop finds would be read",
                remedy="set passages to 2 or more, rerank, or hops to 1",
            )

    @property
    def key(self) -> str:
        """A short stable name, such as `hybrid-p4-h1-span`; equal plans have equal keys."""
        rerank = "-rerank" if self.rerank else ""
        settled = f"-x{self.replicas}{self.arbitration}" if self.replicas > 1 else ""
        more = f"-e{self.escalations}" if self.escalations else ""
        less = f"-c{self.compute_budget:g}" if self.compute_budget < 1 else ""
        return f"{self.retrieval}-p{self.passages}-h{self.hops}{rerank}{settled}-{self.verification}{less}{more}"

    @property
    def shape(self) -> tuple[int, int, bool, Arbitration, Verification]:
        """What the graph's nodes and edges depend on; plans of one shape share a compiled graph."""
        return self.hops, self.replicas, self.rerank, self.arbitration, self.verification

    def replica(self, index: int) -> Replica:
        """Replica `index`, 0-based: its own method, number of passages and model."""
        methods: tuple[RetrievalMethod, ...] = ("hybrid", "lexical", "dense")
        at = methods.index(self.retrieval)
        return Replica(
            retrieval=methods[(at + index) % len(methods)],
            passages=max(1, self.passages - index),
            model=index,
        )

    def to_dict(self) -> dict[str, str | int | float | bool]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, object]) -> Plan:
        """A plan from `to_dict`'s result; unknown fields raise `PlanError`."""
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(raw) - known)
        if unknown:
            raise PlanError(f"unknown plan fields {unknown}", remedy=f"use {sorted(known)}")
        return cls(**raw)  # type: ignore[arg-type]


def default_plan_space() -> tuple[Plan, ...]:
    """The plans that the shipped calibration measured: single readings, some of them within a compute budget, and
    replicas on a hybrid base.
    """
    return (*_single_plans(), *_spared_plans(), *_replicated_plans())


def jury_plans(models: int) -> tuple[Plan, ...]:
    """The replicated plans with a jury, for an engine of so many models that can judge; none for fewer than two.

    They differ from the measured ones in nothing else, so that those say what to expect of them.
    """
    return tuple(
        replace(plan, arbitration="jury")
        for plan in _replicated_plans()
        if plan.arbitration == "confidence" and plan.replicas <= models
    )


def _single_plans() -> Iterator[Plan]:
    methods = get_args(RetrievalMethod)
    for method, passages, rerank, hops, check in product(
        methods, (1, 3, 6, 12), (False, True), (1, 2), ("span", "support")
    ):
        if not _finds_what_is_not_read(passages, hops, rerank=rerank):
            yield Plan(retrieval=method, passages=passages, rerank=rerank, hops=hops, verification=check)


def _spared_plans() -> Iterator[Plan]:
    for passages, budget in product((1, 3, 6), (0.8, 0.6)):
        yield Plan(retrieval="hybrid", passages=passages, compute_budget=budget)


def _replicated_plans() -> Iterator[Plan]:
    for passages, rerank, hops, replicas, settled, check in product(
        (4, 8), (False, True), (1, 2), (2, 3), ("majority", "confidence"), ("span", "support")
    ):
        yield Plan(
            retrieval="hybrid",
            passages=passages,
            rerank=rerank,
            hops=hops,
            replicas=replicas,
            arbitration=settled,
            verification=check,
        )


def _finds_what_is_not_read(passages: int, hops: int, *, rerank: bool) -> bool:
    """Whether the one passage that is read is the first hop's, whatever later ones find."""
    return hops > 1 and passages == 1 and not rerank


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise PlanError(f"{name} {value!r} is unknown", remedy=f"use one of {list(allowed)}")


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not _is_whole(value) or not low <= value <= high:
        raise PlanError(f"{name} {value!r} is out of range", remedy=f"use a whole number from {low} to {high}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
