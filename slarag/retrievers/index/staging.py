"""The folder that a run builds in, and how it becomes the index."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ...sla.errors import IndexFolderError, SlaragError, StorageError
from .layout import BUILDING, GENERATION_PREFIX, LOCK, MANIFEST, SHARDS, VECTORS
from .lock import exclusive
from .manifest import read_manifest


@contextmanager
def building(folder: Path) -> Generator[Path]:
    """The folder to build in, while this process alone writes to the index `folder`.

    The vectors that an interrupted run left there are kept. When the disk refuses, the folder is removed, the index is
    as it was, and `StorageError` is raised. Raises `IndexFolderError` when `folder` holds other things or is being
    written.
    """
    created = not folder.exists()
    try:
        _refuse_foreign(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with exclusive(folder):
            _sweep(folder)
            try:
                yield from _staging(folder / BUILDING)
            finally:
                _sweep(folder)
    except (OSError, SlaragError) as error:
        if created:
            _remove_empty(folder)
        if isinstance(error, SlaragError):
            raise
        raise StorageError(
            f"cannot write the index {str(folder)!r}: {error.strerror or error}",
            remedy="free some space or choose another folder; an index that was there is unchanged",
        ) from error


def _staging(path: Path) -> Generator[Path]:
    path.mkdir(exist_ok=True)
    for left in path.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name not in (VECTORS, SHARDS):
            left.unlink()
    try:
        yield path
    except (OSError, SlaragError):
        # Running again would end here again; only an interruption leaves something worth resuming.
        shutil.rmtree(path, ignore_errors=True)
        raise


def publish(folder: Path, staging: Path) -> str:
    """Give the finished `staging` its lasting name, which is returned; the index still is the old one."""
    name = f"{GENERATION_PREFIX}{secrets.token_hex(4)}"
    staging.rename(folder / name)
    return name


def _refuse_foreign(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise IndexFolderError(f"{str(folder)!r} is a file", remedy="choose a folder for the index")
    names = {path.name for path in folder.iterdir()}
    if names and not names & {MANIFEST, BUILDING, LOCK}:
        raise IndexFolderError(f"{str(folder)!r} is not empty and not an index", remedy="choose a new or empty folder")


def _sweep(folder: Path) -> None:
    """Remove the generations that the manifest does not name; those who have them open keep them."""
    (folder / f"{MANIFEST}.new").unlink(missing_ok=True)
    try:
        current = read_manifest(folder).data
    except IndexFolderError:
        # Without a manifest that can be read nothing tells which generation it meant; only a first run has none.
        if (folder / MANIFEST).exists():
            return
        current = ""
    for path in folder.glob(f"{GENERATION_PREFIX}*"):
        if path.name != current:
            shutil.rmtree(path, ignore_errors=True)


def _remove_empty(folder: Path) -> None:
    try:
        if {path.name for path in folder.iterdir()} <= {LOCK}:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError:
        return
