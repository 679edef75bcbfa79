"""Questions with intents, from public data: which source says what about which intent.

A source's own label counts where it has one (HotpotQA's and Mintaka's types, BioASQ's and QMSum's kinds); elsewhere the
data set as a whole is of one kind (BoolQ, MuSiQue, TriviaQA). Questions that are of two intents at once are left out: a
comparison that is answered yes or no, an open question that is half a list. The sources form two halves, `a` and `b`,
which share none, so that training on one and testing on the other measures what a new source would bring.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ...sla.intents import Intent
from .sources import Row, read_rows

Half = Literal["a", "b", "own"]
Chooser = Callable[[Row], Intent | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """A file of questions. choose: the intent of a row, None to leave it out. limit: questions taken per intent."""

    name: str
    half: Half
    path: str
    licence: str
    choose: Chooser
    limit: int
    field: str = "question"


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its intent, and the source and half that it is from."""

    text: str
    intent: Intent
    source: str
    half: Half


def read_questions(source: Source, folder: Path, seed: int) -> Iterator[Question]:
    """At most `source.limit` distinct questions of each intent, drawn with `seed`; none when the file is not there."""
    path = folder / source.path
    if not path.is_file():
        return
    found: dict[Intent, set[str]] = {}
    for row in read_rows(path):
        intent = source.choose(row)
        text = " ".join(str(row[source.field]).split())
        if intent is not None and 2 < len(text) < 400:
            found.setdefault(intent, set()).add(text)
    for intent, texts in sorted(found.items()):
        drawn = random.Random(f"{seed}/{source.name}/{intent}").sample(sorted(texts), min(source.limit, len(texts)))
        yield from (Question(text, intent, source.name, source.half) for text in drawn)


def _always(intent: Intent) -> Chooser:
    return lambda row: intent


_COMPARES = re.compile(r"\b(than|both|same|or|earlier|later|older|younger|first|between|before|after)\b")
_OPEN = re.compile(
    r"^(why|how (?!many|much|long|old|far|often|tall|big|large|high|fast|deep|heavy)|explain|describe|summari[sz]e|"
    r"analy[sz]e|discuss|what('?s| is| are) the (difference|reason|purpose|meaning|effect|impact))"
)
_IN_THE_PLURAL = re.compile(
    r"^(what|which) (\w+ ){0,2}\w{3,}s (are|were|do|did|have|can|\w+ed)\b|^(what|which|who) (are|were)\b|"
    r"\b(two|three|four|five|six|several|types|kinds|names|examples)\b"
)
_SEVERAL = re.compile(r"^(what|which) (are|were|steps|features|components|factors|measures|techniques|types|kinds)\b")


def _plain_yes_no(row: Row) -> Intent | None:
    """A yes/no question that compares nothing."""
    return None if re.search(r"\b(than|both|same)\b", _text(row)) else "yes_no"


def _by_type(row: Row) -> Intent:
    return "comparison" if row["type"] == "comparison" else "multi_hop"


def _mintaka(row: Row) -> Intent | None:
    several = len(row["answer_labels"] or []) > 1
    match row["complexity"]:
        case "yesno":
            return _plain_yes_no(row)
        case "comparative":
            return None if re.search(r"\b\d{4}\b", _text(row)) else "comparison"
        case "multihop":
            return "multi_hop"
        case "count":
            return "factoid"
        case "generic" | "superlative" | "ordinal":
            return None if several else "factoid"
        case _:
            return "list" if several else None


def _two_wiki(row: Row) -> Intent | None:
    if row["source"] != "2wikimultihopqa":
        return None
    return "comparison" if _COMPARES.search(_text(row)) else "multi_hop"


def _musique(row: Row) -> Intent | None:
    return "multi_hop" if row["source"] == "musique" else None


def _multihop_rag(row: Row) -> Intent | None:
    return "multi_hop" if row["question_type"] == "inference_query" else None


def _squad(row: Row) -> Intent | None:
    """Asked in the plural with an answer that enumerates: a list; a short answer: a fact; the rest is left out."""
    answer = str(row["answers"][0]) if row["answers"] else ""
    if _OPEN.search(_text(row)):
        return None
    if answer.count(",") >= 2 and " and " in answer and not any(c.isdigit() for c in answer):
        return "list" if _IN_THE_PLURAL.search(_text(row)) else None
    return "factoid" if answer and "," not in answer and len(answer) < 40 else None


def _open_only(row: Row) -> Intent | None:
    return "explanation" if _OPEN.search(_text(row)) else None


def _open_or_several(row: Row) -> Intent | None:
    if _OPEN.search(_text(row)):
        return "explanation"
    return "list" if _SEVERAL.search(_text(row)) and len(row["references"]) > 1 else None


def _nq(row: Row) -> Intent | None:
    return None if _OPEN.search(_text(row)) else "factoid"


def _text(row: Row) -> str:
    return str(row["question"]).lower()


def _words(text: str) -> list[str]:
    return text.split()


# What a document may answer, and what is a question about the world: neither is out of scope.
_CLINC_LEFT_OUT = frozenset(
    _words(
        """
        oos oil_change_how calories definition fun_fact meaning_of_life translate ingredients_list recipe
        nutrition_info cook_time travel_suggestion plug_type vaccines exchange_rate international_visa
        food_last ingredient_substitution international_fees tire_pressure gas_type mpg time distance
        timezone improve_credit_score credit_score rollover_401k taxes insurance weather jump_start
        flip_coin who_made_you restaurant_reviews yes no maybe spelling measurement_conversion
        replacement_card_duration carry_on travel_alert
        """
    )
)


def _clinc(half: int) -> Chooser:
    """Commands to an assistant, account matters and small talk; an intent of the data is in one half only."""

    def choose(row: Row) -> Intent | None:
        name = str(row["intent"])
        if name in _CLINC_LEFT_OUT or sum(name.encode()) % 2 != half:
            return None
        return "out_of_scope"

    return choose


_WIKI = "CC BY-SA 4.0"
SOURCES: tuple[Source, ...] = (
    Source(name="squad", half="a", path="reader/squad_v1_train.jsonl.gz", licence=_WIKI, choose=_squad, limit=450),
    Source(
        name="triviaqa",
        half="a",
        path="eval/triviaqa_open_dev.jsonl.gz",
        licence="Apache-2.0",
        choose=_always("factoid"),
        limit=450,
    ),
    Source(
        name="boolq",
        half="a",
        path="intent/boolq_train.jsonl.gz",
        licence="CC BY-SA 3.0",
        choose=_plain_yes_no,
        limit=450,
    ),
    Source(name="pubmedqa", half="a", path="reader/yesno.jsonl.gz", licence="MIT", choose=_plain_yes_no, limit=150),
    Source(
        name="hotpotqa",
        half="a",
        path="intent/hotpotqa_dev_questions_type.jsonl.gz",
        licence=_WIKI,
        choose=_by_type,
        limit=650,
    ),
    Source(
        name="lfrqa",
        half="a",
        path="eval/lfrqa_long_answers.jsonl.gz",
        licence="Apache-2.0",
        choose=_open_only,
        limit=550,
    ),
    Source(
        name="clinc150-a",
        half="a",
        path="intent/clinc150_intent_train_val.jsonl.gz",
        licence="CC BY 3.0",
        choose=_clinc(0),
        limit=450,
        field="text",
    ),
    Source(name="nq", half="b", path="eval/nq_open_dev.jsonl", licence="Apache-2.0", choose=_nq, limit=400),
    Source(
        name="bioasq-factoid",
        half="b",
        path="reader/bioasq_factoid.jsonl.gz",
        licence="CC BY 2.5",
        choose=_nq,
        limit=150,
    ),
    Source(
        name="mintaka",
        half="b",
        path="intent/mintaka_complexity_dev.jsonl",
        licence="CC BY 4.0",
        choose=_mintaka,
        limit=300,
    ),
    Source(
        name="strategyqa",
        half="b",
        path="intent/strategyqa_train.jsonl",
        licence="MIT",
        choose=_plain_yes_no,
        limit=300,
    ),
    Source(
        name="bioasq-yesno",
        half="b",
        path="reader/yesno_bioasq.jsonl.gz",
        licence="CC BY 2.5",
        choose=_plain_yes_no,
        limit=150,
    ),
    Source(
        name="2wikimultihopqa",
        half="b",
        path="intent/adaptive_rag_labels_BC.jsonl",
        licence="Apache-2.0",
        choose=_two_wiki,
        limit=500,
    ),
    Source(
        name="musique",
        half="b",
        path="intent/adaptive_rag_labels_BC.jsonl",
        licence="CC BY 4.0",
        choose=_musique,
        limit=350,
    ),
    Source(
        name="multihop-rag",
        half="b",
        path="eval/multihop_rag_dev.jsonl",
        licence="ODC-BY",
        choose=_multihop_rag,
        limit=76,
    ),
    Source(
        name="bioasq-list",
        half="b",
        path="reader/bioasq_list_items.jsonl.gz",
        licence="CC BY 2.5",
        choose=_always("list"),
        limit=398,
    ),
    Source(
        name="chunking-eval",
        half="b",
        path="eval/chunking_eval_questions.jsonl",
        licence="MIT",
        choose=_open_or_several,
        limit=150,
    ),
    Source(
        name="qmsum",
        half="b",
        path="eval/qmsum_questions_train_val.jsonl",
        licence="MIT",
        choose=_always("explanation"),
        limit=300,
    ),
    Source(name="sec10q", half="b", path="eval/sec10q_questions_dev.jsonl", licence="MIT", choose=_open_only, limit=93),
    Source(
        name="clinc150-b",
        half="b",
        path="intent/clinc150_intent_train_val.jsonl.gz",
        licence="CC BY 3.0",
        choose=_clinc(1),
        limit=450,
        field="text",
    ),
)


def read_all(folder: Path, sources: Iterable[Source] = SOURCES, *, seed: int = 0) -> list[Question]:
    """The questions of all sources under `folder`, each text once: what two intents claim belongs to neither."""
    intents: dict[str, set[Intent]] = {}
    questions = [question for source in sources for question in read_questions(source, folder, seed)]
    for question in questions:
        intents.setdefault(question.text.lower(), set()).add(question.intent)
    seen: set[str] = set()
    kept: list[Question] = []
    for question in questions:
        key = question.text.lower()
        if len(intents[key]) == 1 and key not in seen:
            seen.add(key)
            kept.append(question)
    return kept
