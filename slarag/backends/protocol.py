"""The Backend protocol: typed tasks in, results with usage and price out.

A backend never retries on its own and never outlives the deadline that it is given: it raises `BackendTimeoutError`.
Retries, fallback, circuit breaking and hedging belong to the router backend, which is a backend around others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from ..sla.errors import BackendTimeoutError
from ..sla.evidence import Passage, Span

Capability = Literal["answer", "verify", "generate"]
AnswerKind = Literal["span", "yes_no", "list", "sentence"]
"""What is asked for; a `sentence` may be answered with the clause of one that says it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a call used. device_seconds: accelerator or CPU time, of a shared batch the call's own part.

    reused_readings: passages whose reading the backend still held, so that they are in no other figure.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    device_seconds: float = 0.0
    reused_readings: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What a backend costs; the parts add up. A backend without a price returns `usd=None`."""

    usd_per_device_second: float = 0.0
    usd_per_million_input_tokens: float = 0.0
    usd_per_million_output_tokens: float = 0.0

    def of(self, usage: Usage) -> float:
        """The price of `usage`, USD."""
        tokens = (
            usage.input_tokens * self.usd_per_million_input_tokens
            + usage.output_tokens * self.usd_per_million_output_tokens
        )
        return usage.device_seconds * self.usd_per_device_second + tokens / 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerRequest:
    """Answer `question` from `passages`.

    kind: `span` one short answer, `yes_no` "yes" or "no", `list` several short answers, `sentence` a sentence or two.
    n_best: candidates wanted. deadline: seconds on `time.monotonic`, None for no deadline. compute_budget: the share of
    the model's full compute that the answer may cost, in (0, 1], and compute_floor how low a server that is short of
    devices may put it; a model without such a dial ignores both.
    """

    question: str
    passages: tuple[Passage, ...]
    kind: AnswerKind = "span"
    n_best: int = 5
    deadline: float | None = None
    compute_budget: float = 1.0
    compute_floor: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One possible answer. spans: its evidence in the request's passages, at least one.

    probability: the backend's own belief that this is the answer, over all candidates and "no answer"; in [0, 1].
    """

    text: str
    spans: tuple[Span, ...]
    probability: float


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerResult:
    """Candidates by falling probability (ties by text); empty if the backend sees none.

    no_answer: probability that the passages hold no answer. answerability: per passage id, probability that this
    passage answers. usd is None when the backend has no price.
    """

    candidates: tuple[Candidate, ...]
    no_answer: float
    answerability: dict[str, float] = field(default_factory=dict)
    usage: Usage = Usage()
    usd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyRequest:
    """Is `answer` to `question` supported by `evidence`? An empty `question` makes `answer` the claim itself.

    deadline, compute_budget, compute_floor: as in `AnswerRequest`.
    """

    question: str
    answer: str
    evidence: tuple[Passage, ...]
    deadline: float | None = None
    compute_budget: float = 1.0
    compute_floor: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class VerifyResult:
    """Probabilities that the evidence supports or refutes the claim, or is not enough; they sum to 1."""

    supported: float
    refuted: float
    not_enough: float
    usage: Usage = Usage()
    usd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateRequest:
    """Free text from a prompt. max_tokens: of the reply."""

    prompt: str
    max_tokens: int = 256
    deadline: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerateResult:
    """The reply's text."""

    text: str
    usage: Usage = Usage()
    usd: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class BackendLoad:
    """The state of what serves this backend, read now.

    waiting, running: requests. devices: accelerators that serve. seconds_per_passage: recent device time of reading one
    passage, None before the first call.
    """

    waiting: int = 0
    running: int = 0
    devices: int = 1
    seconds_per_passage: float | None = None


@runtime_checkable
class Backend(Protocol):
    """A model service. `capabilities` says which tasks work; the others raise `BackendUnavailableError`."""

    @property
    def name(self) -> str:
        """A name for reports, unique within an engine."""
        ...

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The tasks that this backend does."""
        ...

    async def answer(self, request: AnswerRequest) -> AnswerResult:
        """Answer a question from passages."""
        ...

    async def verify(self, request: VerifyRequest) -> VerifyResult:
        """Judge a claim against evidence."""
        ...

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """Write free text."""
        ...

    async def load(self) -> BackendLoad:
        """Read the service's state."""
        ...

    async def aclose(self) -> None:
        """Release what the backend holds; calling it twice is fine."""
        ...


def seconds_left(deadline: float | None, backend: str) -> float | None:
    """Seconds until `deadline` on the monotonic clock; raises `BackendTimeoutError` once it has passed."""
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise BackendTimeoutError(f"no time left for backend {backend!r}", backend=backend)
    return left
