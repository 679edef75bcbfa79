from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.backends.protocol import AnswerKind
from slarag.backends.reader.combine import Combined, combine
from slarag.backends.reader.reading import Reading, ReadSpan, merge_windows
from slarag.backends.reader.store import ReaderSettings
from slarag.sla.evidence import Passage

SETTINGS = ReaderSettings(null_weights=(0.0, 1.0, 0.0))
TEXT = "Ada Lovelace wrote notes. They describe the Analytical Engine. Babbage built parts of it."


def _passage(name: str, text: str = TEXT) -> Passage:
    return Passage(passage_id=name, document_id=name, text=text)


def _reading(
    *spans: tuple[int, int, float], odds: float = 0.0, support: tuple[float, float, float] = (0.2, 0.3, 0.5)
) -> Reading:
    return Reading(tuple(ReadSpan(*span) for span in spans), odds, 0.0, support, 10)


def _combine(kind: AnswerKind, *pairs: tuple[Passage, Reading], settings: ReaderSettings = SETTINGS) -> Combined:
    return combine(kind, [p for p, _ in pairs], [r for _, r in pairs], settings, n_best=5)


@given(
    st.lists(st.tuples(st.floats(-8, 8), st.lists(st.floats(0.01, 1), min_size=1, max_size=4)), min_size=1, max_size=4)
)
def test_answers_and_no_answer_are_one_distribution(rows: list[tuple[float, list[float]]]) -> None:
    pairs = []
    for index, (odds, weights) in enumerate(rows):
        spans = [(i, i + 3, w / sum(weights)) for i, w in enumerate(weights)]
        pairs.append((_passage(str(index)), _reading(*spans, odds=odds)))
    combined = combine("span", [p for p, _ in pairs], [r for _, r in pairs], SETTINGS, n_best=100)
    assert sum(c.probability for c in combined.candidates) + combined.no_answer == pytest.approx(1.0)
    assert [c.probability for c in combined.candidates] == sorted(
        (c.probability for c in combined.candidates), reverse=True
    )


def test_the_same_text_in_two_passages_adds_up() -> None:
    one, two = (_passage("a"), _reading((0, 12, 1.0))), (_passage("b"), _reading((0, 12, 0.6), (19, 24, 0.4)))
    combined = _combine("span", one, two)
    assert combined.candidates[0].text == "Ada Lovelace"
    assert {span.passage_id for span in combined.candidates[0].spans} == {"a", "b"}
    assert combined.candidates[0].probability == pytest.approx((1.0 + 0.6) / 3)


def test_an_earlier_rank_is_the_better_prior_when_the_exponent_says_so() -> None:
    pairs = ((_passage("a", "one two"), _reading((0, 3, 1.0))), (_passage("b", "six ten"), _reading((0, 3, 1.0))))
    flat = _combine("span", *pairs)
    assert flat.candidates[0].probability == flat.candidates[1].probability
    steep = _combine("span", *pairs, settings=ReaderSettings(null_weights=(0.0, 1.0, 0.0), rank_exponent=1.0))
    assert [c.text for c in steep.candidates] == ["one", "six"]
    assert steep.candidates[0].probability == pytest.approx(2 * steep.candidates[1].probability)


def test_the_null_weights_decide_what_no_answer_is_worth() -> None:
    pair = (_passage("a"), Reading((ReadSpan(0, 3, 1.0),), 2.0, -4.0, (0.2, 0.3, 0.5), 10))
    span_only = _combine("span", pair)
    head_only = _combine("span", pair, settings=ReaderSettings(null_weights=(0.0, 0.0, 1.0)))
    assert span_only.no_answer == pytest.approx(1 / (1 + math.exp(2)))
    assert head_only.no_answer == pytest.approx(1 / (1 + math.exp(-4)))


def test_a_sentence_is_the_whole_sentence_around_the_span() -> None:
    start = TEXT.index("Analytical")
    combined = _combine("sentence", (_passage("a"), _reading((start, start + 17, 1.0))))
    assert combined.candidates[0].text == "They describe the Analytical Engine."


def test_a_clause_answers_for_its_sentence_with_what_all_its_spans_weigh() -> None:
    text = "It is red because iron in its dust has rusted. Ice is white."
    why, rusted = text.index("iron"), text.index(" has rusted")
    spans = [
        (why, rusted + 11, 0.3),
        (why - 8, rusted + 11, 0.25),
        (why, rusted, 0.1),
        (len(text) - 13, len(text), 0.35),
    ]
    first, second = _combine("sentence", (_passage("a", text), _reading(*spans))).candidates
    assert (first.text, second.text) == ("iron in its dust has rusted", "Ice is white.")
    assert text[first.spans[0].start : first.spans[0].end] == first.text
    assert first.probability == pytest.approx(0.65 / 2)


def test_a_list_joins_likely_spans_in_the_order_of_the_text() -> None:
    text = "Its moons are Io, Europa and Ganymede."
    spans = [
        (text.index(name), text.index(name) + len(name), p)
        for name, p in (("Europa", 0.5), ("Io", 0.3), ("moons", 0.05))
    ]
    combined = _combine("list", (_passage("a", text), _reading(*spans)))
    assert combined.candidates[0].text == "Io, Europa"
    assert len(combined.candidates[0].spans) == 2


def test_yes_or_no_follows_the_evidence_that_says_something() -> None:
    silent = (_passage("a"), _reading((0, 3, 1.0), support=(0.05, 0.05, 0.9)))
    sure = (_passage("b"), _reading((0, 3, 1.0), support=(0.1, 0.8, 0.1)))
    combined = _combine("yes_no", silent, sure)
    assert combined.candidates[0].text == "no"
    assert combined.candidates[0].spans[0].passage_id == "b"
    assert sum(c.probability for c in combined.candidates) + combined.no_answer == pytest.approx(1.0)


def test_without_passages_there_is_no_answer() -> None:
    for kind in ("span", "yes_no", "list", "sentence"):
        combined = _combine(kind)
        assert combined.candidates == ()
        assert combined.no_answer == 1.0


def test_windows_of_a_passage_merge_into_one_reading() -> None:
    near, far = _reading((0, 3, 0.9), odds=3.0), _reading((40, 50, 0.9), (0, 3, 0.1), odds=-3.0)
    merged = merge_windows([near, far])
    assert merged.spans[0] == ReadSpan(0, 3, pytest.approx(0.9 / (1 + math.exp(-6))))  # type: ignore[arg-type]
    assert sum(span.probability for span in merged.spans) <= 1.0
    assert merged.span_log_odds == 3.0


@pytest.mark.parametrize(
    ("text", "read", "answers"),
    [
        ("It is shorter than the [Volga](volga.md), a river.", "volga.md", []),
        ("It is shorter than the [Volga](volga.md), a river.", "](volga", []),
        ("It is shorter than the [Volga](volga.md), a river.", "Volga](volga.md", ["Volga"]),
        ("It is shorter than the [Volga](volga.md), a river.", "[Volga](volga", ["Volga"]),
        ("It is shorter than the [Volga](volga.md), a river.", "[Volga", ["Volga"]),
        ("The Volga](volga.md) is longer.", "The Volga](volga.md", ["The Volga](volga.md"]),
        ("The [Don](don.md) is a river.", "Don](don.md) is a river", ["[Don](don.md) is a river"]),
        ("The [Don](don.md) is a river.", "The [Don](don.md) is", ["The [Don](don.md) is"]),
    ],
)
def test_an_answer_holds_a_markdown_link_whole_or_its_label_only(text: str, read: str, answers: list[str]) -> None:
    start = text.index(read)
    combined = _combine("span", (_passage("danube", text), _reading((start, start + len(read), 1.0))))
    assert [candidate.text for candidate in combined.candidates] == answers
    assert [text[s.start : s.end] for candidate in combined.candidates for s in candidate.spans] == answers


def test_an_answer_does_not_run_over_a_blank_line() -> None:
    text = "# Ladoga\n\nLake Ladoga is deep.\n \nIt freezes."
    read = text[text.index("Ladoga") : text.index(" is deep")]
    across = text[text.index("deep") : text.index(" freezes")]
    for span, answer in ((read, "Lake Ladoga"), (across, "deep.")):
        start = text.index(span)
        combined = _combine("span", (_passage("a", text), _reading((start, start + len(span), 1.0))))
        assert [candidate.text for candidate in combined.candidates] == [answer]


def test_spans_that_shrink_to_one_answer_add_up() -> None:
    text = "It is the [Volga](volga.md)."
    name, linked = text.index("Volga"), text.index("](")
    reading = _reading((name, linked, 0.5), (name, linked + 5, 0.3), odds=0.0)
    combined = _combine("span", (_passage("a", text), reading))
    assert [candidate.probability for candidate in combined.candidates] == [pytest.approx(0.8 / 2)]


def test_an_answer_is_cited_once_where_passages_of_a_document_overlap() -> None:
    text = "It was found by Christiaan Huygens."
    one = Passage(passage_id="a", document_id="titan", text=text)
    other = Passage(passage_id="b", document_id="titan", text=text[7:], start=7)
    at = text.index("Christiaan")
    pairs = (
        (one, _reading((at, len(text) - 1, 0.5), (at, len(text), 0.4))),
        (other, _reading((at - 7, len(text) - 8, 0.9))),
        (_passage("c", text), _reading((at, len(text) - 1, 0.9))),
    )
    spans = _combine("span", *pairs).candidates[0].spans
    assert sorted(span.passage_id for span in spans) in (["a", "c"], ["b", "c"])


def test_yes_or_no_goes_by_the_passage_that_answers_and_cites_it() -> None:
    text = "Titan is larger than Mercury."
    beside = [(_passage(name), _reading((0, 3, 1.0), odds=-4.0, support=(0.2, 0.8, 0.0))) for name in "abc"]
    answering = (_passage("titan", text), _reading((0, 5, 1.0), odds=2.0, support=(0.7, 0.2, 0.1)))
    combined = _combine("yes_no", *beside, answering)
    yes, no = combined.candidates
    assert (yes.text, no.text) == ("yes", "no")
    assert yes.spans[0].passage_id == "titan"
    assert yes.probability + no.probability + combined.no_answer == pytest.approx(1.0)


def test_passages_that_do_not_answer_leave_a_yes_or_no_question_open() -> None:
    beside = [(_passage(name), _reading((0, 3, 1.0), odds=-6.0, support=(0.1, 0.9, 0.0))) for name in "abc"]
    assert _combine("yes_no", *beside).no_answer > 0.9
