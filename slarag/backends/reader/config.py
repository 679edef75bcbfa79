"""The sizes of the reader's encoder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

Skip = Literal["none", "feed_forward", "layer"]
"""What the null expert spares a token: nothing, a layer's feed-forward block (as DLO does), or all but its key and
value."""


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Sizes of the encoder. All in units of elements; `max_positions` in tokens.

    experts: routed experts in each feed-forward block, 0 for a dense one; a token passes `shared_size` inner units and
    those of `top_k` experts of `expert_size`. added_layers: positions of the layers that the parent does not have; each
    stands behind a gate. skip: what the null expert spares.
    """

    vocab_size: int = 30522
    hidden_size: int = 384
    num_layers: int = 6
    num_heads: int = 12
    intermediate_size: int = 1536
    max_positions: int = 512
    layer_norm_eps: float = 1e-12
    experts: int = 0
    top_k: int = 1
    shared_size: int = 0
    expert_size: int = 0
    added_layers: tuple[int, ...] = ()
    skip: Skip = "none"

    @property
    def is_dynamic(self) -> bool:
        """Whether layers are routed, skipped or gated, rather than the parent's own."""
        return bool(self.experts or self.added_layers or self.skip != "none")

    @property
    def active_intermediate(self) -> int:
        """Inner units of a feed-forward block that one token passes."""
        return self.shared_size + self.top_k * self.expert_size if self.experts else self.intermediate_size

    @property
    def router_outputs(self) -> int:
        """Logits of a layer's router: the experts', then the null expert's."""
        return self.experts + (self.skip != "none")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return {**asdict(self), "added_layers": list(self.added_layers)}

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> EncoderConfig:
        """A config from `to_dict`'s result; fields that it lacks have their defaults."""
        fields: dict[str, Any] = {**raw, "added_layers": tuple(raw.get("added_layers", ()))}
        return cls(**fields)

    @classmethod
    def from_parent(cls, folder: Path) -> EncoderConfig:
        """Read the sizes from a Hugging Face BERT `config.json` in `folder`."""
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(
            vocab_size=raw["vocab_size"],
            hidden_size=raw["hidden_size"],
            num_layers=raw["num_hidden_layers"],
            num_heads=raw["num_attention_heads"],
            intermediate_size=raw["intermediate_size"],
            max_positions=raw["max_position_embeddings"],
            layer_norm_eps=raw["layer_norm_eps"],
        )
