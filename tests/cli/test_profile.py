"""`slarag profile`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Cli

NAMES = ("fast", "balanced", "thorough", "safe")


def test_list_shows_what_each_profile_promises(cli: Cli) -> None:
    done = cli("profile", "list")
    assert done.code == 0
    assert [name for name in NAMES if name not in done.out] == []


def test_list_as_json(cli: Cli) -> None:
    document = json.loads(cli("profile", "list", "--json").out)
    assert document["schema"] == 1
    assert [profile["name"] for profile in document["profiles"]] == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_what_show_prints_is_a_valid_profile(cli: Cli, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_text(cli("profile", "show", name).out, encoding="utf-8")
    done = cli("profile", "validate", copy)
    assert done.code == 0
    assert name in done.err


def test_schema_is_json(cli: Cli) -> None:
    assert json.loads(cli("profile", "schema").out)["title"] == "Profile"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x\npriority: latency\nobjectives:\n  latency: {p95ms: 1}\n", ["mine.yaml:4", "p95ms", "p95_ms"]),
        ("name: x\nname: y\npriority: latency\n", ["mine.yaml:2", "name"]),
        ("name: [\n", ["mine.yaml"]),
        ("", ["mine.yaml"]),
        ("name: x\npriority: speed\n", ["mine.yaml:2", "priority"]),
    ],
    ids=["unknown key", "duplicate key", "not YAML", "empty", "not in the set"],
)
def test_a_wrong_profile_is_refused_with_its_place(cli: Cli, tmp_path: Path, text: str, words: list[str]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    cli("profile", "validate", path).refused(2, *words)


def test_an_unknown_profile_is_refused_with_the_nearest(cli: Cli) -> None:
    cli("profile", "show", "balancd").refused(2, "balanced")
