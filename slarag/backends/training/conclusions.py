"""Claims about findings, made of long answers: the authors' conclusion of what their evidence shows.

A conclusion is supported by the evidence it was drawn from, its opposite is refuted, and the evidence of another
conclusion that shares its rarer words is not enough (after Wright et al., 2022: claims made of papers' own sentences).
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace

from .opposites import opposite
from .sources import REFUTED, SUPPORTED, Example, Row, claim_example, rival_evidence

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_VERDICT = re.compile(r"^(?:yes|no)\b[,.;:]?\s*", re.IGNORECASE)
_PREFACE = re.compile(
    r"^[^,]{0,60}?\b(?:suggest|show|indicate|demonstrate|found|find|conclude|report|reveal|confirm)\w*\s+that\s+"
)
_SHORTEST = 30
_NEAREST = 3


def conclusion_examples(rows: list[Row], count: int, rng: random.Random) -> Iterator[Example]:
    """`count` examples, about, of rows with `long_answer` and `context`: a third of each label.

    Half of the supported and the refuted ones have the few sentences of the context nearest to the claim as evidence,
    the others all of it.
    """
    claims = [claim for row in rows for claim in _claims(row)]
    drawn = rng.sample(claims, min(count // 3, len(claims)))
    for claim in drawn:
        yield Example(first=claim["claim"], passage=_evidence(claim, rng), labels=SUPPORTED)
        turned = opposite(claim["claim"], rng)
        if turned is not None:
            yield Example(first=turned, passage=_evidence(claim, rng), labels=REFUTED)
    yield from rival_evidence(drawn, len(drawn), rng)


def opposite_claims(rows: list[Row], count: int, rng: random.Random) -> Iterator[Example]:
    """Supported claims turned round against their own evidence: refuted; up to `count`."""
    supported = [example for example in map(claim_example, rows) if example is not None and example.labels == SUPPORTED]
    for example in rng.sample(supported, min(count, len(supported))):
        turned = opposite(example.first, rng)
        if turned is not None:
            yield replace(example, first=turned, labels=REFUTED)


def _claims(row: Row) -> list[Row]:
    """The one or two sentences of the long answer that say most about the question, without verdict or preface."""
    sentences = _SENTENCE.split(_VERDICT.sub("", str(row.get("long_answer") or "")).replace("\n", " ").strip())
    usable = [plain for plain in (_PREFACE.sub("", sentence) for sentence in sentences) if len(plain) >= _SHORTEST]
    asked = frozenset(row["question"].lower().rstrip("?").split())
    told = sorted(usable, key=lambda text: -len(asked & frozenset(text.lower().split())))[:2]
    return [{"claim": text[0].upper() + text[1:], "evidence": row["context"]} for text in told]


def _evidence(claim: Row, rng: random.Random) -> str:
    sentences: list[str] = _SENTENCE.split(claim["evidence"])
    if rng.random() < 0.5 or len(sentences) <= _NEAREST:
        return str(claim["evidence"])
    asked = frozenset(claim["claim"].lower().split())
    shared = [len(asked & frozenset(sentence.lower().split())) for sentence in sentences]
    nearest = sorted(sorted(range(len(sentences)), key=lambda at: -shared[at])[: rng.randint(1, _NEAREST)])
    return " ".join(sentences[at] for at in nearest)
