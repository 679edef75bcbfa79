"""Bad input through the command line: one line with the remedy, the right exit code, and the old index as it was."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from slarag.cli.interruption import resumable
from slarag.retrievers.index import Index, build_index
from slarag.sla.errors import RunError

from .conftest import Cli

DOCUMENTS = {
    "titan.md": "# Titan\n\nTitan is the largest moon of Saturn. Christiaan Huygens discovered it in 1655.\n",
    "mars.txt": "Mars is red because iron in its dust has rusted.\n",
}


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents")
    for name, text in DOCUMENTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def built(documents: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "index"
    build_index([documents], folder)
    return folder


@pytest.fixture
def index(built: Path, tmp_path: Path) -> Path:
    """An index of one's own to spoil."""
    return Path(shutil.copytree(built, tmp_path / "index"))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def serves(folder: Path) -> None:
    """The index in `folder` opens, with its contents verified, and holds the two documents."""
    opened = Index.open(folder, verify_contents=True)
    assert opened.document_ids() == sorted(DOCUMENTS)
    opened.close()


@pytest.mark.parametrize("command", ["ask", "explain"])
@pytest.mark.parametrize(
    ("question", "stdin", "words"),
    [
        ("", b"", "the question is empty"),
        (" \n\t ", b"", "the question is empty"),
        ("-", b"", "the question is empty"),
        ("-", b"why " * 2_500_000, "20,000 characters; shorten it"),
        ("x" * 100_000, b"", "20,000 characters; shorten it"),
    ],
    ids=["empty", "blank", "nothing on stdin", "10 MB on stdin", "100 kB argument"],
)
def test_a_question_that_is_none(cli: Cli, index: Path, command: str, question: str, stdin: bytes, words: str) -> None:
    cli(command, question, "-i", index, stdin=stdin).refused(2, words)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (None, b"", "no documents in"),
        ("broken.pdf", b"%PDF-1.7\n" + bytes(range(256)) * 8, "broken.pdf"),
        ("not.pdf", b"just words", "not.pdf"),
        ("binary.txt", bytes(range(256)) * 64, "binary.txt"),
        ("rows.jsonl", b"{not json\n", "rows.jsonl"),
        ("picture.png", b"\x89PNG", "no documents in"),
    ],
    ids=["empty folder", "unreadable PDF", "not a PDF", "binary file", "broken JSONL", "unknown ending"],
)
def test_documents_that_are_none(cli: Cli, tmp_path: Path, name: str | None, content: bytes, words: str) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    if name is not None:
        (folder / name).write_bytes(content)
    cli("index", folder, "-o", tmp_path / "index").refused(2, words)
    assert not (tmp_path / "index").exists()


def test_an_unreadable_file_among_others_is_skipped_and_named(cli: Cli, documents: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(documents, tmp_path / "documents"))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nno more")
    done = cli("index", folder, "-o", tmp_path / "index", "--json")
    assert done.code == 0
    assert [Path(skipped["source"]).name for skipped in json.loads(done.out)["skipped"]] == ["broken.pdf"]
    assert "skipped" in done.err
    serves(tmp_path / "index")


def test_strict_reading_stops_at_it(cli: Cli, documents: Path, index: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(documents, tmp_path / "documents"))
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7\nno more")
    before = contents(index)
    cli("index", folder, "-o", index, "--strict").refused(2, "broken.pdf")
    assert contents(index) == before


@pytest.mark.parametrize(
    ("name", "content"), [("broken.pdf", b"%PDF-1.7\nno more"), ("empty.txt", b" \n"), ("rows.jsonl", b"{not json\n")]
)
def test_strict_reading_names_the_file_once(cli: Cli, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    done = cli("index", tmp_path / name, "-o", tmp_path / "index", "--strict")
    done.refused(2, name)
    assert done.err.count(name) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["index", "no/such/folder", "-o", "x"], "no/such/folder"),
        (["index", "-o", "x"], "either documents or --remove"),
        (["ask", "why?", "-i", "no/such/index"], "slarag index PATH -o DIR"),
        (["ask", "why?", "-i", "no/such/index", "-p", "fats"], "did you mean 'fast'"),
        (["ask", "why?", "-i", "x", "--plan", "{"], "is not JSON"),
        (["ask", "why?", "-i", "x", "--plan", "[]"], "is not a JSON object"),
        (["ask", "why?", "-i", "x", "--plan", '{"hopps": 2}'], "hopps"),
        (["ask", "why?", "-i", "x", "--plan", '{"hops": 2, "hops": 3}'], "gives 'hops' twice; give each field once"),
        (["ask", "why?", "-i", "x", "--plan", '{"hops": 9}'], "use a whole number from 1 to 3"),
        (["serve", "-i", "x", "--host", "0.0.0.0"], "SLARAG_TOKEN"),
        (["train", "reader", "--data", "x", "--run", "y"], "--data"),
        (["train", "reader", "--data", "x", "--run", "y", "--recipe", "no.yaml"], "no.yaml"),
        (["eval", "--data", "no.jsonl", "--out", "runs"], "no.jsonl"),
        (["eval", "--data", "no.jsonl", "--out", "runs", "--format", "xml"], "xml"),
        (["eval", "compare", "no", "nor"], "no"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_call_that_cannot_be_served(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    cli(*arguments).refused(2, words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("eval --data bad --format jsonl --out runs", "nested too deeply"),
        ("eval --data bad --out runs", "bad"),
        ("eval compare run run", "run holds no outcome in items.jsonl"),
        ("train reader --data . --run r --recipe bad", "recipe 'bad'"),
        ("train reader --data . --run r --recipe run/items.jsonl", "recipe 'run/items.jsonl'"),
        ("calibrate --data bad -o run", "'run' is a folder"),
        ("calibrate --data bad -o c.json --feedback run/items.jsonl", "not a UTF-8 text file"),
    ],
    ids=["deep rows", "deep data", "binary run", "deep recipe", "binary recipe", "folder for a file", "feedback"],
)
def test_a_file_that_is_not_what_it_should_be(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad").write_text("[" * 20_000, encoding="utf-8")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "items.jsonl").write_bytes(b"\xff\x00")
    cli(*arguments.split()).refused(2, words)


def test_a_port_that_is_taken(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cli("serve", "-i", "x", "--port", port).refused(1, f"cannot listen on 127.0.0.1:{port}: Address already in use")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "name: mine\npriority: risk\nobjectives:\n  risk: {max_wrong: 0.1}\n",
            ["mine.yaml:4", "max_wrong_answer_rate"],
        ),
        ("name: mine\npriority: risk\npriority: cost\n", ["mine.yaml:3", "priority"]),
    ],
    ids=["unknown key", "duplicate key"],
)
def test_a_profile_that_is_wrong(cli: Cli, index: Path, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    cli("ask", "why?", "-i", index, "-p", tmp_path / "mine.yaml").refused(2, *words)


def test_an_index_of_another_embedder(cli: Cli, index: Path) -> None:
    manifest = json.loads((index / "manifest.json").read_text(encoding="utf-8"))
    manifest["embedder"] = {**manifest["embedder"], "name": "another", "fingerprint": "f" * 16}
    (index / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    cli("ask", "why?", "-i", index).refused(2, "another", "slarag index")


def test_a_truncated_file_of_the_index(cli: Cli, built: Path, tmp_path: Path) -> None:
    for at, name in enumerate(
        sorted(name for name, content in contents(built).items() if len(content) > 0 and "lock" not in name)
    ):
        index = Path(shutil.copytree(built, tmp_path / str(at)))
        path = index / name
        path.write_bytes(path.read_bytes()[:-1] if name != "manifest.json" else path.read_bytes()[:40])
        cli("ask", "why?", "-i", index).refused(2, Path(name).name, "slarag index")


@pytest.fixture
def at_the_last_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """Make something happen when the operating system is asked to move the new manifest into place."""
    replace = os.replace

    def arrange(happens: Callable[[], None]) -> None:
        def instead(source: Path, target: Path) -> None:
            if Path(target).name == "manifest.json":
                happens()
            replace(source, target)

        monkeypatch.setattr(os, "replace", instead)

    return arrange


Arrange = Callable[[Callable[[], None]], None]


def test_a_full_disk(cli: Cli, documents: Path, index: Path, at_the_last_step: Arrange) -> None:
    def refuse() -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = contents(index)
    at_the_last_step(refuse)
    cli("index", documents, "-o", index).refused(1, "No space left", "free some space")
    assert contents(index) == before


@pytest.fixture
def interruptible() -> Iterator[None]:
    """SIGINT as in a terminal; a test run in the background inherits it as ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("more", [[], ["--add"]], ids=["anew", "adding"])
def test_an_interrupt_while_indexing(
    cli: Cli,
    documents: Path,
    index: Path,
    at_the_last_step: Arrange,
    monkeypatch: pytest.MonkeyPatch,
    how: signal.Signals,
    more: list[str],
) -> None:
    before = contents(index)
    at_the_last_step(lambda: signal.raise_signal(how))
    cli("index", documents, "-o", index, *more).refused(
        1, "interrupted; an index that was there is unchanged; run the same command again"
    )
    assert {name: content for name, content in contents(index).items() if name in before} == before
    serves(index)
    monkeypatch.undo()
    assert cli("index", documents, "-o", index, *more).code == 0
    serves(index)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_a_coroutine_that_holds_its_loop_up(how: signal.Signals) -> None:
    passed: list[str] = []

    async def busy() -> None:
        signal.raise_signal(how)
        passed.append("went on")
        await asyncio.sleep(0)

    with pytest.raises(RunError, match="interrupted; all is kept"), resumable("all is kept"):
        asyncio.run(busy())
    assert passed == []
    assert signal.getsignal(how) in {signal.default_int_handler, signal.SIG_DFL}


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_of_its_own_process(documents: Path, tmp_path: Path, how: signal.Signals) -> None:
    program = (
        "import os, signal, sys\n"
        "from slarag.cli import main\n"
        f"os.replace = lambda *_: os.kill(os.getpid(), {int(how)})\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    arguments = [sys.executable, "-c", program, "index", str(documents), "-o", str(tmp_path / "index")]
    stopped = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert stopped.returncode == 1
    assert stopped.stderr.count("\n") == 1
    assert "run the same command again" in stopped.stderr


@pytest.mark.slow
def test_a_killed_run_leaves_the_old_index(cli: Cli, documents: Path, index: Path) -> None:
    program = (
        "import os, signal, sys\n"
        "from slarag.cli import main\n"
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "main(sys.argv[1:])\n"
    )
    arguments = [sys.executable, "-c", program, "index", str(documents), "-o", str(index)]
    killed = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    serves(index)
    assert cli("index", documents, "-o", index).code == 0
    serves(index)
