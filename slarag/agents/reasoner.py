"""The reasoner agent: one replica's answer from its passages."""

from __future__ import annotations

import time

from ..backends.protocol import AnswerKind, AnswerRequest, AnswerResult
from ..sla.errors import SlaragError, UnpricedCallError
from ..sla.intents import Intent, IntentPrediction
from .branch import HasContext, finish, is_over, passages_of
from .options import CANDIDATES, held_to, options_of
from .state import QueryState
from .text import asks_for_several, asks_yes_or_no

SURE = 0.8
"""Probability from which an intent alone decides the kind of answer."""
FEW = 5
"""Candidates that arbitration chooses from."""
_KINDS: dict[Intent, AnswerKind] = {"list": "list", "explanation": "sentence", "yes_no": "yes_no"}


class Reasoner:
    """Reads a replica's passages with the replica's model. A failure of the model ends this replica, not the query."""

    def __init__(self, replica: int) -> None:
        self.replica = replica

    async def __call__(self, state: QueryState, runtime: HasContext) -> QueryState:
        """Adds the replica's reading."""
        context = runtime.context
        if is_over(self.replica, state):
            return {}
        passages = passages_of(self.replica, state)
        if not passages:
            return finish(self.replica, context, (), result=AnswerResult(candidates=(), no_answer=1.0, usd=0.0))
        options = options_of(context.question) if context.kind == "span" else ()
        request = AnswerRequest(
            question=context.question,
            passages=passages,
            kind=context.kind,
            n_best=CANDIDATES if options else FEW,
            deadline=context.budget.deadline,
            compute_budget=context.plan.compute_budget,
            compute_floor=context.compute_floor,
        )
        backend = context.models.reader(context.plan.replica(self.replica).model)
        began = time.monotonic()
        try:
            result = await context.models.answer(backend, request, context.race.settled)
        except UnpricedCallError:
            raise
        except SlaragError as error:
            return finish(self.replica, context, passages, error=error, began=began)
        context.clock("read", began)
        if result is not None:
            result = held_to(options, passages, result)
        return finish(self.replica, context, passages, result=result, began=began)


def kind_of(question: str, intent: IntentPrediction) -> AnswerKind:
    """The kind of answer to ask for.

    A question that is yes/no by its grammar is one whatever else it is: a comparison, a chain of facts; so is one that
    asks who several people were. A classifier
    errs, and a wrong kind spoils the answer while a span is seldom quite wrong, so other kinds need a sure classifier.
    """
    if asks_yes_or_no(question):
        return "yes_no"
    if asks_for_several(question):
        return "list"
    return _KINDS.get(intent.top, "span") if intent.confidence >= SURE else "span"
