"""The application around the commands: help, version, and what a wrong call gets."""

from __future__ import annotations

import pytest

from slarag.cli.spread import spread

from .conftest import Cli

COMMANDS = ("index", "ask", "explain", "profile", "calibrate", "eval", "train", "serve", "demo")


def test_help_names_every_command(cli: Cli) -> None:
    done = cli("--help")
    assert done.code == 0
    assert [name for name in COMMANDS if f"  {name} " not in done.out] == []


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    done = cli(command, "--help")
    assert done.code == 0
    assert f"Usage: slarag {command}" in done.out


@pytest.mark.parametrize("group", [(), ("profile",), ("train",), ("pool",)], ids=" ".join)
def test_a_group_without_a_command_shows_its_help(cli: Cli, group: tuple[str, ...]) -> None:
    bare, asked = cli(*group), cli(*group, "--help")
    assert (bare.code, bare.out) == (2, "")
    assert bare.err.strip() == asked.out.strip()


def test_version(cli: Cli) -> None:
    assert cli("--version").out.startswith("slarag 0.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prfile"], ["No such command 'prfile'", "profile", "slarag --help"]),
        (["ask", "why?", "--nonsense"], ["No such option: --nonsense", "slarag ask --help"]),
        (["ask", "why?"], ["--index", "slarag ask --help"]),
        (["eval"], ["--data and --out", "slarag eval --help"]),
        (["eval", "--data", "x", "--out", "y", "--limit", "none"], ["--limit", "slarag eval --help"]),
    ],
)
def test_a_wrong_call_is_refused_in_one_line(cli: Cli, arguments: list[str], words: list[str]) -> None:
    cli(*arguments).refused(2, *words)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("eval --profile fast safe --out x", "eval --profile fast --profile safe --out x"),
        ("eval -p fast balanced safe", "eval -p fast -p balanced -p safe"),
        ("eval --profile fast --out x", "eval --profile fast --out x"),
        ("calibrate --data a b --out c", "calibrate --data a --data b --out c"),
        ("calibrate --feedback a b", "calibrate --feedback a --feedback b"),
        ("eval compare a b", "eval compare a b"),
        ("ask --profile fast why", "ask --profile fast why"),
        ("", ""),
    ],
)
def test_several_values_may_follow_one_option(given: str, meant: str) -> None:
    assert spread(given.split()) == meant.split()
