"""The house stands as ARCHITECTURE.md draws it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys

import pytest

from .house import PACKAGE, ROOT, loaded_by, modules, room_of, targets_at_load

BELOW_5 = {"engine", "agents", "retrievers", "backends", "sla"}
RULES: dict[str, set[str]] = {
    "cli": {*BELOW_5, "evals", "server", "demo"},
    "evals": BELOW_5,
    "server": BELOW_5,
    "engine": {"agents", "retrievers", "backends", "sla"},
    "agents": {"retrievers", "backends", "sla"},
    "retrievers": {"minilm", "sla"},
    "backends": {"minilm", "sla"},
    "minilm": {"sla"},
    "sla": set(),
    "demo": {"sla"},
}
HEAVY = ("torch", "langgraph", "langchain", "langchain_core", "faiss", "sentence_transformers", "transformers", "scipy",
         "sklearn", "matplotlib", "bm25s", "fastapi", "uvicorn")  # fmt: skip
SLA_MAY_LOAD = {"numpy", "pydantic", "pydantic_core", "yaml", "typing_extensions"}


def test_every_module_lives_in_a_room() -> None:
    rooms = {module.room for module in modules().values()} - {""}
    assert rooms <= set(RULES), f"no rule for {sorted(rooms - set(RULES))}"


@pytest.mark.parametrize("room", RULES)
def test_imports_go_down_only(room: str) -> None:
    wrong = [
        f"{module.name}:{found.line} imports {found.target}"
        for module in modules().values()
        if module.room == room
        for found in module.imports
        if found.target.startswith("slarag.") and room_of(found.target) not in RULES[room] | {room}
    ]
    assert not wrong, "\n".join(wrong)


def test_rooms_import_one_another_relatively() -> None:
    absolute = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in PACKAGE.rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if re.match(r"\s*(from slarag\b|import slarag\b)", line) and '"""' not in line
    ]
    assert not absolute


def test_the_page_states_the_rules() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d \| (\w+) \| ([\w, ]*?) ?\| ", page, flags=re.MULTILINE)
    stated = {room: {name for name in re.split(r",\s*", below.strip()) if name} for room, below in rows}
    assert stated == RULES


@pytest.mark.parametrize("room", [room for room in RULES if (PACKAGE / room).is_dir()])
def test_rooms_say_what_they_are_for(room: str) -> None:
    assert modules()[f"slarag.{room}"].docstring


def test_the_pools_processes_load_no_graph_library() -> None:
    elastic = {name for name in modules() if name.startswith("slarag.backends.elastic")}
    named = {found.target for name in elastic for found in modules()[name].imports}
    loaded = {target for name in loaded_by(elastic) for target in targets_at_load(name)}
    assert not [target for target in named | loaded if target.startswith(("langgraph", "langchain"))]


def test_the_sla_core_stays_light() -> None:
    third_party = {
        target.partition(".")[0]
        for name in modules()
        if name.startswith("slarag.sla")
        for target in targets_at_load(name)
    } - set(sys.stdlib_module_names)
    assert third_party <= SLA_MAY_LOAD | {"slarag"}


def test_the_public_names_are_sorted_and_there() -> None:
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    stated = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]
    ]
    assert stated, "slarag/__init__.py states no __all__"
    assert list(stated[0]) == sorted(stated[0])
    import slarag

    assert [name for name in stated[0] if getattr(slarag, name, None) is None] == []


@pytest.mark.parametrize("program", ["import slarag", "from slarag.cli import main; main(['--help'])"])
def test_loads_without_the_heavy_libraries(program: str) -> None:
    poison = f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{poison}; {program}"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
