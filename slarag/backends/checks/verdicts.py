"""Checks of verification and free text."""

from __future__ import annotations

import math

from ..protocol import VerifyRequest, VerifyResult
from .case import LIGHTHOUSE, Case, generate_request, require, verify_request
from .costs import check_cost


async def verdicts_sum_to_one(case: Case) -> None:
    """The three probabilities of a verdict are in [0, 1] and sum to 1, also for a bare claim."""
    case.needs("verify")
    bare = VerifyRequest(question="", answer="The lighthouse was built of wood.", evidence=(LIGHTHOUSE,))
    for request in (verify_request(), bare):
        _check_verdict(case, await case.backend.verify(request))


async def no_evidence_is_not_enough(case: Case) -> None:
    """Without evidence "not enough" is the likeliest verdict."""
    case.needs("verify")
    result = await case.backend.verify(VerifyRequest(question="", answer="Pharos is an island.", evidence=()))
    _check_verdict(case, result)
    require(result.not_enough >= max(result.supported, result.refuted), f"{result!r} without any evidence")


async def free_text_is_text(case: Case) -> None:
    """`generate` returns text, with what it used."""
    case.needs("generate")
    result = await case.backend.generate(generate_request())
    require(isinstance(result.text, str), f"generate returned {result.text!r}")
    check_cost(case, result.usage, result.usd)


CHECKS = (verdicts_sum_to_one, no_evidence_is_not_enough, free_text_is_text)


def _check_verdict(case: Case, result: VerifyResult) -> None:
    shares = (result.supported, result.refuted, result.not_enough)
    require(all(0 <= share <= 1 for share in shares), f"{shares!r} are no probabilities")
    require(math.isclose(sum(shares), 1.0, abs_tol=1e-4), f"{shares!r} sum to {sum(shares)!r}, not to 1")
    check_cost(case, result.usage, result.usd)
