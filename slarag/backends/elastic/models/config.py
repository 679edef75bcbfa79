"""Sizes of a Qwen3-MoE model, read from a Hugging Face `config.json`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, cast

from ..errors import CheckpointError

DType = Literal["float32", "bfloat16"]
BYTES_OF: dict[str, int] = {"float32": 4, "bfloat16": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class Qwen3MoeConfig:
    """Sizes in elements, `max_positions` in tokens. Names follow `transformers` where it has one.

    mlp_only_layers: layers with a dense feed-forward of `intermediate_size` instead of experts.
    eos_token_ids: tokens that end a generation.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    num_experts: int
    experts_per_token: int
    moe_intermediate_size: int
    intermediate_size: int = 0
    norm_topk_prob: bool = True
    decoder_sparse_step: int = 1
    mlp_only_layers: tuple[int, ...] = ()
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    max_positions: int = 32_768
    attention_bias: bool = False
    tie_embeddings: bool = False
    eos_token_ids: tuple[int, ...] = ()
    dtype: DType = "float32"

    @classmethod
    def from_folder(cls, folder: Path) -> Qwen3MoeConfig:
        """Read `folder/config.json`; raises `CheckpointError` for what is not served."""
        try:
            raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if not isinstance(raw, dict):
                raise ValueError("it is not an object")
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"cannot read config.json in {str(folder)!r}: {error}", remedy="name a Hugging Face model folder"
            ) from error
        settings = cast("dict[str, Any]", raw)
        _refuse_what_is_not_served(settings)
        try:
            return cls(**_fields_of(settings))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"config.json in {str(folder)!r} is incomplete: {error}") from error

    def is_sparse(self, layer: int) -> bool:
        """Whether `layer` has experts."""
        if layer in self.mlp_only_layers or self.num_experts == 0:
            return False
        return (layer + 1) % self.decoder_sparse_step == 0

    @property
    def sparse_layers(self) -> tuple[int, ...]:
        """The layers with experts, rising."""
        return tuple(layer for layer in range(self.num_layers) if self.is_sparse(layer))

    @property
    def expert_elements(self) -> int:
        """Elements of one expert: gate, up and down projections."""
        return 3 * self.hidden_size * self.moe_intermediate_size

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values, for `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Qwen3MoeConfig:
        """The inverse of `to_dict`, after a round trip through JSON."""
        tuples: dict[str, Any] = {name: tuple(raw[name]) for name in ("mlp_only_layers", "eos_token_ids")}
        return cls(**(raw | tuples))

    def to_huggingface(self) -> dict[str, Any]:
        """The `config.json` that `transformers` reads."""
        return {
            "architectures": ["Qwen3MoeForCausalLM"],
            "model_type": "qwen3_moe",
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "num_experts": self.num_experts,
            "num_experts_per_tok": self.experts_per_token,
            "moe_intermediate_size": self.moe_intermediate_size,
            "intermediate_size": self.intermediate_size or self.moe_intermediate_size,
            "norm_topk_prob": self.norm_topk_prob,
            "decoder_sparse_step": self.decoder_sparse_step,
            "mlp_only_layers": list(self.mlp_only_layers),
            "rope_theta": self.rope_theta,
            "rms_norm_eps": self.rms_norm_eps,
            "max_position_embeddings": self.max_positions,
            "attention_bias": self.attention_bias,
            "tie_word_embeddings": self.tie_embeddings,
            "eos_token_id": list(self.eos_token_ids),
            "hidden_act": "silu",
            "torch_dtype": self.dtype,
        }


def _refuse_what_is_not_served(raw: dict[str, Any]) -> None:
    rope = _rope_of(raw)
    wrong = {
        "model_type": raw.get("model_type") != "qwen3_moe",
        "hidden_act": raw.get("hidden_act", "silu") != "silu",
        "rope_type": (rope.get("rope_type") or rope.get("type") or "default") != "default",
        "use_sliding_window": bool(raw.get("use_sliding_window")),
    }
    for key, is_wrong in wrong.items():
        if is_wrong:
            value = rope if key == "rope_type" else raw.get(key)
            raise CheckpointError(
                f"config.json: {key} {value!r} is not served",
                remedy="use a Qwen3-MoE checkpoint with default rotary embeddings and no sliding window",
            )


def _rope_of(raw: dict[str, Any]) -> dict[str, Any]:
    return raw.get("rope_parameters") or raw.get("rope_scaling") or {}


def _fields_of(raw: dict[str, Any]) -> dict[str, Any]:
    eos = raw.get("eos_token_id")
    eos_ids: list[int] = [] if eos is None else eos if isinstance(eos, list) else [eos]
    heads = raw["num_attention_heads"]
    return {
        "vocab_size": raw["vocab_size"],
        "hidden_size": raw["hidden_size"],
        "num_layers": raw["num_hidden_layers"],
        "num_heads": heads,
        "num_kv_heads": raw["num_key_value_heads"],
        "head_dim": raw.get("head_dim") or raw["hidden_size"] // heads,
        "num_experts": raw.get("num_experts", raw.get("num_local_experts")),
        "experts_per_token": raw["num_experts_per_tok"],
        "moe_intermediate_size": raw["moe_intermediate_size"],
        "intermediate_size": raw.get("intermediate_size", 0),
        "norm_topk_prob": bool(raw.get("norm_topk_prob", False)),
        "decoder_sparse_step": raw.get("decoder_sparse_step", 1),
        "mlp_only_layers": tuple(raw.get("mlp_only_layers") or ()),
        "rope_theta": float(raw.get("rope_theta") or _rope_of(raw).get("rope_theta", 10_000.0)),
        "rms_norm_eps": raw.get("rms_norm_eps", 1e-6),
        "max_positions": raw.get("max_position_embeddings", 32_768),
        "attention_bias": bool(raw.get("attention_bias", False)),
        "tie_embeddings": bool(raw.get("tie_word_embeddings", False)),
        "eos_token_ids": tuple(eos_ids),
        "dtype": _dtype_of(raw.get("dtype") or raw.get("torch_dtype") or "float32"),
    }


def _dtype_of(name: str) -> DType:
    return "bfloat16" if name in {"bfloat16", "float16"} else "float32"
