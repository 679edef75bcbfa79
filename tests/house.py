"""The package's modules and what each imports, read from the source without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "slarag"


@dataclass(frozen=True)
class Import:
    """One import: the dotted module it names, the line, and whether it happens when the module is loaded."""

    target: str
    line: int
    at_load: bool


@dataclass(frozen=True)
class Module:
    """A source file of the package under its dotted name."""

    name: str
    path: Path
    imports: tuple[Import, ...]
    docstring: str | None

    @property
    def room(self) -> str:
        """The sub-package; `engine` for the modules beside it; empty for the package's own `__init__`."""
        return room_of(self.name)


def room_of(name: str) -> str:
    """The room of a dotted name of the package."""
    first = name.partition(".")[2].partition(".")[0]
    return first if not first or (PACKAGE / first).is_dir() else "engine"


@cache
def modules() -> dict[str, Module]:
    """Every module of the package by dotted name."""
    found = (read_module(path) for path in sorted(PACKAGE.rglob("*.py")))
    return {module.name: module for module in found}


def read_module(path: Path) -> Module:
    """Parse one file."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    is_package = parts[-1] == "__init__"
    name = ".".join(parts[:-1] if is_package else parts)
    package = name if is_package else name.rpartition(".")[0]
    imports = tuple(_imports(tree, package, at_load=True))
    return Module(name=name, path=path, imports=imports, docstring=ast.get_docstring(tree))


def _imports(node: ast.AST, package: str, *, at_load: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, at_load) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from _from_imports(child, package, at_load)
        else:
            yield from _imports(child, package, at_load=at_load and not _is_deferred(child))


def _from_imports(node: ast.ImportFrom, package: str, at_load: bool) -> Iterator[Import]:
    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    target = ".".join([*base, *([node.module] if node.module else [])])
    for alias in node.names:
        # `from ..sla import plan` names a module, `from ..sla.plan import Plan` names something in one.
        yield Import(f"{target}.{alias.name}", node.lineno, at_load)


def _is_deferred(node: ast.AST) -> bool:
    if isinstance(node, ast.If):
        return "TYPE_CHECKING" in ast.dump(node.test)
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)


def loaded_by(names: set[str]) -> set[str]:
    """Modules of the package that are loaded when those named are, the packages that hold them included."""
    todo, seen = set(names), set[str]()
    while todo:
        name = todo.pop()
        seen.add(name)
        reached = {name.rpartition(".")[0], *map(_module_of, targets_at_load(name))}
        todo |= {module for module in reached if module in modules()} - seen
    return seen


def targets_at_load(name: str) -> set[str]:
    """What module `name` imports while it is loaded."""
    return {found.target for found in modules()[name].imports if found.at_load}


def _module_of(target: str) -> str:
    return target if target in modules() else target.rpartition(".")[0]
