"""The parent of the reader: the tokenizer and the weights of all-MiniLM-L6-v2."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...minilm.folder import MODEL_NAME as PARENT_NAME
from ...minilm.folder import ModelMissingError as ParentMissingError
from ...minilm.folder import find_model_folder as parent_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

__all__ = ["PARENT_NAME", "ParentMissingError", "load_parent_weights", "load_tokenizer", "parent_folder"]


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
