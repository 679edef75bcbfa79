from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import slarag.sla.profile as profile_module
from slarag.sla.errors import ProfileError
from slarag.sla.profile import (
    LatencyObjective,
    Profile,
    load_profile,
    parse_profile,
    profile_schema,
    profile_schema_text,
    profile_text,
    shipped_profiles,
)

PROFILES = Path(profile_module.__file__).with_name("profiles")

MINE = """\
name: mine
priority: quality
objectives:
  latency:
    p95_ms: 900
    deadline_ms: 2000
"""


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_shipped_profile_loads_under_its_name(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.description
    assert profile.objectives.latency is not None
    assert profile.objectives.cost is not None


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_shipped_profile_names_the_schema_in_its_first_line(name: str) -> None:
    first = profile_text(name).splitlines()[0]
    assert first == "# yaml-language-server: $schema=profile.schema.json"
    assert (PROFILES / first.split("=")[1]).is_file()


def test_the_shipped_profiles_are_those_of_the_folder() -> None:
    assert {path.stem for path in PROFILES.glob("*.yaml")} == set(shipped_profiles())


def test_the_shipped_profiles_differ_in_what_they_promise() -> None:
    fast, balanced, thorough, safe = map(load_profile, shipped_profiles())
    limits = [p.objectives.latency.p95_ms for p in (fast, balanced, thorough) if p.objectives.latency]
    assert limits == sorted(limits)
    assert len(set(limits)) == 3
    assert safe.objectives.risk is not None
    assert safe.abstention.below_confidence > balanced.abstention.below_confidence
    assert (fast.priority, thorough.priority, safe.priority) == ("latency", "quality", "risk")


def test_the_committed_schema_is_current() -> None:
    assert (PROFILES / "profile.schema.json").read_text(encoding="utf-8") == profile_schema_text()


def test_the_schema_forbids_unknown_keys_at_every_level() -> None:
    schema = profile_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert schema["additionalProperties"] is False
    assert all(part["additionalProperties"] is False for part in schema["$defs"].values())


def test_a_file_loads_by_its_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE, encoding="utf-8")
    assert load_profile(path) == load_profile(str(path)) == parse_profile(MINE)
    assert profile_text(path) == MINE


def test_a_profile_is_frozen() -> None:
    with pytest.raises(ValidationError):
        load_profile("fast").priority = "cost"  # pyright: ignore[reportAttributeAccessIssue]


def test_the_threshold_is_zero_when_abstaining_is_not_allowed() -> None:
    text = MINE + "abstention: {allowed: false, below_confidence: 0.4}\n"
    assert parse_profile(text).threshold == 0
    assert parse_profile(text.replace("false", "true")).threshold == 0.4


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        pytest.param(MINE.replace("p95_ms", "p95ms"), 5, ["'objectives.latency.p95ms'", "'p95_ms'?"], id="misspelt"),
        pytest.param(MINE.replace("objectives", "objectivs"), 3, ["'objectivs'", "'objectives'?"], id="misspelt-top"),
        pytest.param(MINE + "zzz: 1\n", 7, ["'zzz'", "['abstention', 'compute_floor'"], id="no-near-key"),
        pytest.param(MINE + "name: other\n", 7, ["duplicate key 'name'", "line 1"], id="duplicate"),
        pytest.param(MINE + "  p95_ms: 3\n", 7, ["unknown key 'objectives.p95_ms'"], id="wrong-level"),
        pytest.param(MINE.replace("2000", "200"), 4, ["deadline_ms 200 is under p95_ms 900"], id="deadline-under-p95"),
        pytest.param(
            MINE.replace("900", "-1"), 5, ["'objectives.latency.p95_ms'", "greater than 0", "-1"], id="negative"
        ),
        pytest.param(MINE.replace("900", ".inf"), 5, ["'objectives.latency.p95_ms'"], id="infinite"),
        pytest.param(MINE.replace("900", "soon"), 5, ["'objectives.latency.p95_ms'", "'soon'"], id="no-number"),
        pytest.param(MINE.replace("quality", "speed"), 2, ["'priority'", "'latency', 'cost'"], id="no-such-priority"),
        pytest.param(MINE.replace("priority: quality\n", ""), 1, ["'priority' is missing"], id="missing"),
        pytest.param(MINE.replace("    deadline_ms: 2000\n", ""), 4, ["deadline_ms' is missing"], id="missing-inside"),
        pytest.param("name: [", 1, ["not valid YAML"], id="broken"),
        pytest.param(MINE.replace("mine", "&a mine").replace("quality", "*a"), 1, ["aliases"], id="alias"),
        pytest.param("name: !!python/name:os.system x\n", 1, ["not valid YAML"], id="tag"),
    ],
)
def test_a_fault_is_named_with_file_line_and_key_in_one_line(text: str, line: int, words: list[str]) -> None:
    with pytest.raises(ProfileError) as caught:
        parse_profile(text, "mine.yaml")
    message = str(caught.value)
    assert message.startswith(f"mine.yaml:{line}:")
    assert "\n" not in message
    assert caught.value.remedy
    for word in words:
        assert word in message


@pytest.mark.parametrize("text", ["", "- 1\n- 2\n", "just text"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ProfileError, match="not a mapping"):
        parse_profile(text, "mine.yaml")


def test_several_faults_are_counted() -> None:
    with pytest.raises(ProfileError, match=r"\(and 2 more\)"):
        parse_profile(MINE.replace("900", "-1").replace("quality", "speed") + "zzz: 1\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [("[" * 2000, "nested too deeply"), (MINE.replace("900", "9" * 5000), "limit"), ("name: 2020-13-01", "month")],
    ids=["deep", "long number", "no date"],
)
def test_what_yaml_itself_stumbles_over_is_one_line(text: str, words: str) -> None:
    with pytest.raises(ProfileError, match=words) as caught:
        parse_profile(text)
    assert str(caught.value).startswith("profile.yaml: ")


def test_a_duplicate_is_found_at_any_depth() -> None:
    with pytest.raises(ProfileError, match="duplicate key 'p95_ms', first given on line 5"):
        parse_profile(MINE + "    p95_ms: 800\n")


@pytest.mark.parametrize(("name", "words"), [("balansed", "did you mean 'balanced'"), ("/no/file.yaml", "use one of")])
def test_an_unknown_profile_names_the_nearest(name: str, words: str) -> None:
    with pytest.raises(ProfileError, match=words):
        load_profile(name)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ProfileError, match="not a UTF-8 text file"):
        load_profile(path)


def test_what_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"#" * 1_000_001)
    with pytest.raises(ProfileError, match="too large"):
        load_profile(path)


def test_the_deadline_may_equal_the_p95() -> None:
    assert LatencyObjective(p95_ms=5, deadline_ms=5).deadline_ms == 5


def test_a_profile_round_trips_through_its_model() -> None:
    profile = load_profile("safe")
    assert Profile.model_validate(profile.model_dump()) == profile


@pytest.mark.parametrize("given", [{"name": "x"}, 7, "name: x\npriority: cost\n" * 400, "a\0b"])
def test_what_names_no_profile_is_refused(given: Any) -> None:
    with pytest.raises(ProfileError, match=r"no profile|cannot be loaded") as caught:
        load_profile(given)
    assert len(str(caught.value)) < 300
