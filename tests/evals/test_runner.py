from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from slarag.evals import EvalSettings, Progress, compare, run
from slarag.evals.metrics import METRICS, wall_seconds
from slarag.evals.outcome import Timing
from slarag.sla.answer import Answer
from slarag.sla.errors import BackendTimeoutError, ConfigurationError, DataError, IndexFolderError, RunError
from slarag.sla.evidence import Passage
from slarag.sla.profile import profile_text

from .scripted_engine import ScriptedEngine, reply

ROWS = [
    {
        "id": "a",
        "question": "capital of France?",
        "answers": ["Paris"],
        "title": "F",
        "context": "Paris is the capital.",
    },
    {"id": "b", "question": "capital of Italy?", "answers": ["Rome"], "title": "I", "context": "Rome is the capital."},
    {
        "id": "c",
        "question": "capital of Mars?",
        "answers": [],
        "is_impossible": True,
        "title": "M",
        "context": "Mars is red.",
    },
    {
        "id": "d",
        "question": "capital of Spain?",
        "answers": ["Madrid"],
        "title": "S",
        "context": "Madrid is the capital.",
    },
]


@pytest.fixture
def settings(tmp_path: Path) -> EvalSettings:
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    return EvalSettings(data=data, out=tmp_path / "out", reading=True, warm_up=0)


def test_two_profiles_of_one_name_are_not_mixed_up(settings: EvalSettings, tmp_path: Path) -> None:
    other = tmp_path / "mine.yaml"
    other.write_text(profile_text("fast").replace("400", "300"), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="two profiles are named 'fast'; give each a name of its own"):
        run(replace(settings, profiles=("fast", str(other))), engine=ScriptedEngine(script))
    engine = ScriptedEngine(script)
    run(replace(settings, profiles=("fast", "fast")), engine=engine)
    assert len(engine.asked) == len(ROWS)


def script(question: str) -> Answer | Exception:
    replies: dict[str, Answer | Exception] = {
        "capital of France?": reply("Paris", confidence=0.9),
        "capital of Italy?": reply("Milan", confidence=0.6),
        "capital of Mars?": reply(best_text="red", confidence=0.1),
        "capital of Spain?": BackendTimeoutError("no time left"),
    }
    return replies[question]


def test_the_report_counts_what_was_measured_and_what_failed(settings: EvalSettings) -> None:
    report = run(settings, engine=ScriptedEngine(script))
    figures = report.profiles["balanced"]
    assert set(METRICS) <= set(figures)
    values = {name: figure.value for name, figure in figures.items()}
    assert values["f1"] == pytest.approx(2 / 3)
    assert values["exact_match"] == pytest.approx(2 / 3)
    assert values["f1_answerable"] == values["f1_forced"] == 0.5
    assert values["no_answer_recall"] == 1.0
    assert values["answered_share"] == pytest.approx(2 / 3)
    assert values["wrong_answer_rate"] == 0.5
    assert values["ece"] == pytest.approx((0.1 + 0.6 + 0.1) / 3)
    assert values["usd_per_query"] == pytest.approx(1e-6)
    assert figures["recall_at_5"].n == 0
    assert values["recall_at_5"] is None
    assert report.failures == {"balanced": {"backend_timeout": 1}}
    assert all(figure.n <= 3 for figure in figures.values())


def test_the_files_say_what_the_report_says(settings: EvalSettings) -> None:
    report = run(settings, engine=ScriptedEngine(script))
    written = json.loads((settings.out / "report.json").read_text())
    assert written == json.loads(json.dumps(report.to_dict()))
    assert written["schema"] == 1
    assert set(written["profiles"]["balanced"]["f1"]) == {"value", "low", "high", "n"}
    page = (settings.out / "report.html").read_text()
    assert page.count("<svg") == 4
    assert "backend_timeout" in page
    assert "http-equiv" not in page
    assert 'src="' not in page
    lines = [json.loads(line) for line in (settings.out / "items.jsonl").read_text().splitlines()]
    assert sorted(line["kind"] for line in lines) == ["failure", "measurement", "measurement", "measurement"]
    assert "balanced" in report.table()


def test_an_interrupted_run_goes_on_where_it_stopped(settings: EvalSettings) -> None:
    run(settings, engine=ScriptedEngine(script))
    items = settings.out / "items.jsonl"
    kept = [line for line in items.read_text().splitlines() if '"a"' in line]
    items.write_text(kept[0] + "\n" + kept[0][:40])
    engine = ScriptedEngine(script)
    report = run(settings, engine=engine)
    assert [question for question, _, _ in engine.asked] == [row["question"] for row in ROWS[1:]]
    assert report.profiles["balanced"]["answered_share"].n == 3
    assert report.failures["balanced"] == {"backend_timeout": 1}


def test_failed_questions_are_asked_again(settings: EvalSettings) -> None:
    run(settings, engine=ScriptedEngine(script))
    engine = ScriptedEngine(lambda _: reply("Madrid"))
    report = run(settings, engine=engine)
    assert [question for question, _, _ in engine.asked] == ["capital of Spain?"]
    assert report.failures == {"balanced": {}}


def test_profiles_and_questions_can_be_added_later(settings: EvalSettings) -> None:
    run(replace(settings, limit=2), engine=ScriptedEngine(lambda _: reply("Paris")))
    engine = ScriptedEngine(lambda _: reply("Paris", profile="fast"))
    report = run(replace(settings, profiles=("balanced", "fast")), engine=engine)
    assert len(engine.asked) == 2 + 4
    assert {name: figures["answered_share"].n for name, figures in report.profiles.items()} == {
        "balanced": 4,
        "fast": 4,
    }


@pytest.mark.parametrize("change", [{"seed": 3}, {"concurrency": 2}, {"reading": False}])
def test_a_folder_of_another_evaluation_is_refused(settings: EvalSettings, change: dict[str, int]) -> None:
    run(settings, engine=ScriptedEngine(script))
    with pytest.raises(ConfigurationError, match="holds an evaluation with"):
        run(replace(settings, **change), engine=ScriptedEngine(script))


def test_a_folder_of_another_corpus_is_refused(settings: EvalSettings, tmp_path: Path) -> None:
    corpora = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    for corpus in corpora:
        corpus.write_text(json.dumps({"doc_id": "d", "title": "", "text": corpus.name}) + "\n")
    asked = [replace(settings, reading=False, corpus=corpus) for corpus in corpora]
    run(asked[0], engine=ScriptedEngine(script))
    run(asked[0], engine=ScriptedEngine(script))
    with pytest.raises(ConfigurationError, match="holds an evaluation with corpus"):
        run(asked[1], engine=ScriptedEngine(script))


def test_a_folder_of_an_index_that_was_built_anew_is_refused(settings: EvalSettings, tmp_path: Path) -> None:
    from slarag.retrievers.index import build_index
    from tests.retrievers.parts import hash_embedder, write_facts

    write_facts(tmp_path / "docs")
    build_index([tmp_path / "docs"], tmp_path / "index", embedder=hash_embedder())
    over = replace(settings, reading=False, index=tmp_path / "index")
    run(over, engine=ScriptedEngine(script))
    run(replace(over, index=tmp_path / "docs" / ".." / "index"), engine=ScriptedEngine(script))
    (tmp_path / "docs" / "amber.txt").write_text("Something else.")
    build_index([tmp_path / "docs"], tmp_path / "index", embedder=hash_embedder())
    with pytest.raises(ConfigurationError, match="holds an evaluation with index"):
        run(over, engine=ScriptedEngine(script))


def test_a_smaller_sample_is_reported_as_a_run_of_its_own(settings: EvalSettings) -> None:
    one_by_one = replace(settings, concurrency=1)
    run(one_by_one, engine=ScriptedEngine(script))
    few = run(replace(one_by_one, limit=2), engine=ScriptedEngine(script))
    assert sum(figure.n for name, figure in few.profiles["balanced"].items() if name == "answered_share") == 1
    page = (settings.out / "report.html").read_text()
    run(one_by_one, engine=ScriptedEngine(script))
    assert (settings.out / "report.html").read_text().split("<svg")[2:] != page.split("<svg")[2:]


def test_questions_take_the_time_in_which_one_of_them_was_in_flight() -> None:
    spans = [(0, 0.0, 2.0), (0, 1.0, 3.0), (0, 1.5, 1.75), (0, 10.0, 11.0), (1, 0.5, 1.0)]
    timings = [Timing(session=session, started_s=begin, finished_s=end) for session, begin, end in spans]
    assert wall_seconds(timings) == pytest.approx(4.5)
    assert wall_seconds([]) == 0


def test_a_line_that_was_cut_within_a_character_is_asked_again(settings: EvalSettings) -> None:
    run(settings, engine=ScriptedEngine(script))
    items = settings.out / "items.jsonl"
    items.write_bytes(items.read_bytes() + '{"profile": "ö'.encode()[:-1])
    engine = ScriptedEngine(script)
    assert run(settings, engine=engine).failures == {"balanced": {"backend_timeout": 1}}
    assert len(engine.asked) == 1


def test_a_run_with_other_profiles_keeps_those_that_were_measured(settings: EvalSettings) -> None:
    run(replace(settings, profiles=("fast", "safe")), engine=ScriptedEngine(script))
    report = run(settings, engine=ScriptedEngine(script))
    assert list(report.profiles) == ["fast", "safe", "balanced"]
    assert {name: figures["f1"].n for name, figures in report.profiles.items()} == dict.fromkeys(report.profiles, 3)
    written = json.loads((settings.out / "report.json").read_text())
    assert list(written["profiles"]) == written["settings"]["profiles"] == list(report.profiles)
    assert list(written["failures"]) == list(report.profiles)


def test_a_refused_call_does_not_keep_a_corrected_one_from_its_folder(settings: EvalSettings, tmp_path: Path) -> None:
    with pytest.raises(IndexFolderError):
        run(replace(settings, reading=False, index=tmp_path / "nowhere"))
    assert run(settings, engine=ScriptedEngine(script)).settings["mode"] == "reading"


def test_a_run_in_which_everything_failed_does_not_keep_others_from_its_folder(settings: EvalSettings) -> None:
    with pytest.raises(RunError):
        run(settings, engine=ScriptedEngine(lambda _: KeyError("x")))
    assert run(replace(settings, seed=3), engine=ScriptedEngine(script)).settings["seed"] == 3


def test_another_evaluation_is_refused_before_the_folder_is_touched(settings: EvalSettings) -> None:
    run(settings, engine=ScriptedEngine(script))
    before = {path.name: path.read_bytes() for path in settings.out.iterdir()}
    with pytest.raises(ConfigurationError, match="holds an evaluation with mode 'reading', not 'index'"):
        run(replace(settings, reading=False))
    assert {path.name: path.read_bytes() for path in settings.out.iterdir()} == before


def test_a_run_in_which_everything_fails_is_an_error(settings: EvalSettings) -> None:
    with pytest.raises(RunError, match="all 4 questions failed, the first with unexpected: KeyError"):
        run(settings, engine=ScriptedEngine(lambda _: KeyError("x")))


def test_reading_gives_the_rows_own_passages(settings: EvalSettings) -> None:
    engine = ScriptedEngine(script)
    run(settings, engine=engine)
    assert [count for _, _, count in engine.asked] == [1, 1, 1, 1]


def test_retrieval_is_scored_by_the_gold_passage(settings: EvalSettings) -> None:
    gold = Passage(passage_id="1", document_id="other", text="Paris is the capital.")
    engine = ScriptedEngine(lambda _: reply("Paris", passages=[gold]))
    report = run(replace(settings, reading=False), engine=engine)
    assert [count for _, _, count in engine.asked] == [None] * 4
    recall = report.profiles["balanced"]["recall_at_5"]
    assert (recall.value, recall.n) == (pytest.approx(1 / 3), 3)


def test_progress_counts_every_question(settings: EvalSettings) -> None:
    seen: list[Progress] = []
    run(settings, engine=ScriptedEngine(script), on_progress=seen.append)
    assert [(p.stage, p.done, p.total) for p in seen] == [("balanced", n, 4) for n in range(1, 5)]


def test_warm_up_questions_are_not_measured_twice(settings: EvalSettings) -> None:
    engine = ScriptedEngine(script)
    report = run(replace(settings, warm_up=2), engine=engine)
    assert len(engine.asked) == 6
    assert report.profiles["balanced"]["answered_share"].n == 3


def test_questions_without_passages_are_their_own_class_in_reading_mode(settings: EvalSettings) -> None:
    with settings.data.open("a") as data:
        data.write('{"id": "e", "question": "no context", "answers": ["x"]}\n')
    report = run(settings, engine=ScriptedEngine(script))
    assert report.failures["balanced"] == {"backend_timeout": 1, "no_passages": 1}


def test_retrieval_without_any_passage_needs_an_index(tmp_path: Path) -> None:
    data = tmp_path / "NQ-open.dev.jsonl"
    data.write_text('{"question": "who", "answer": ["Ann"]}\n')
    with pytest.raises(DataError, match="--index"):
        run(EvalSettings(data=data, out=tmp_path / "out"))


def test_contradicting_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="exclude each other"):
        EvalSettings(data=tmp_path, out=tmp_path, reading=True, index=tmp_path)
    with pytest.raises(ConfigurationError, match="limit 0"):
        EvalSettings(data=tmp_path, out=tmp_path, limit=0)
    with pytest.raises(ConfigurationError, match="seed -1 is under 0"):
        EvalSettings(data=tmp_path, out=tmp_path, seed=-1)


def test_comparing_an_evaluation_with_a_better_one(settings: EvalSettings, tmp_path: Path) -> None:
    better = replace(settings, out=tmp_path / "better")
    run(settings, engine=ScriptedEngine(script))
    answers = {str(row["question"]): (row["answers"] or [""])[0] for row in ROWS}
    run(better, engine=ScriptedEngine(lambda question: reply(answers[question])))
    comparison = compare(settings.out, better.out)
    (pair,) = comparison.profiles
    assert (pair.pairs, pair.only_a, pair.only_b, pair.failed_a) == (3, 0, 1, 1)
    assert pair.f1 is not None
    assert (pair.f1.a, pair.f1.b) == (pytest.approx(2 / 3), 1.0)
    assert pair.f1.difference.value == pytest.approx(1 / 3)
    assert pair.wrong_answers is not None
    assert (pair.wrong_answers.only_a, pair.wrong_answers.only_b) == (1, 0)
    document = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert document["schema"] == 1
    metrics = document["profiles"][0]["metrics"]
    # Goodput is of a run, and single questions have no part in it.
    assert set(METRICS) - set(metrics) == {"goodput_qps"}
    pairs = {name: metrics[name] and metrics[name]["difference"]["n"] for name in METRICS if name != "goodput_qps"}
    assert pairs == {
        **dict.fromkeys(pairs, 3),
        "f1_answerable": 2,
        "f1_forced": 2,
        "no_answer_recall": 1,
        "recall_at_5": None,
    }
    assert metrics["wrong"]["difference"]["value"] == pytest.approx(-1 / 3)
    assert metrics["attainment"]["difference"]["value"] == pytest.approx(
        metrics["attainment"]["b"] - metrics["attainment"]["a"]
    )
    lines = {line.split()[0]: line for line in comparison.table().splitlines() if line}
    assert "+33.33" in lines["f1"]
    assert lines["recall_at_5"].split()[1:4] == ["%", "0", "-"]
    assert set(metrics) <= set(lines)


def test_the_profile_of_one_side_is_named_where_the_other_has_one(settings: EvalSettings, tmp_path: Path) -> None:
    run(replace(settings, profiles=("fast", "balanced")), engine=ScriptedEngine(script))
    single = replace(settings, profiles=("safe",), out=tmp_path / "single")
    run(single, engine=ScriptedEngine(script))
    (pair,) = compare(settings.out, single.out, profile_a="fast").profiles
    assert (pair.profile_a, pair.profile_b) == ("fast", "safe")
    (pair,) = compare(single.out, settings.out, profile_b="balanced").profiles
    assert (pair.profile_a, pair.profile_b) == ("safe", "balanced")


def test_an_evaluation_does_not_differ_from_itself(settings: EvalSettings) -> None:
    run(settings, engine=ScriptedEngine(script))
    (pair,) = compare(settings.out, settings.out / "report.json").profiles
    assert pair.f1 is not None
    assert (pair.f1.difference.value, pair.f1.p) == (0.0, 1.0)


def test_evaluations_of_other_data_or_profiles_are_not_compared(settings: EvalSettings, tmp_path: Path) -> None:
    run(settings, engine=ScriptedEngine(script))
    other = tmp_path / "other.jsonl"
    other.write_text('{"id": "a", "question": "?", "answers": ["x"], "context": "x"}\n')
    run(replace(settings, data=other, out=tmp_path / "o"), engine=ScriptedEngine(lambda _: reply("x")))
    with pytest.raises(DataError, match="different question files"):
        compare(settings.out, tmp_path / "o")
    with pytest.raises(DataError, match="B holds no profile 'safe'; give --profile-b one of"):
        compare(settings.out, settings.out, profile_a="balanced", profile_b="safe")
    with pytest.raises(DataError, match=r"holds no outcome in items\.jsonl"):
        compare(settings.out, tmp_path / "nothing")
