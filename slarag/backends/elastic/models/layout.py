"""Which tensors a device holds for a model, and which checkpoint tensors each is made of.

The devices share nothing but experts: attention, norms, routers and embeddings are whole on each (data-parallel), an
expert is one flat tensor (gate, up and down in a row) that can be moved as a whole.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .config import BYTES_OF, Qwen3MoeConfig


@dataclass(frozen=True, slots=True)
class Part:
    """A checkpoint tensor inside a device tensor. start: offset in elements."""

    source: str
    shape: tuple[int, ...]
    start: int

    @property
    def elements(self) -> int:
        """Size in elements."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A tensor on a device: its name, shape, and the checkpoint tensors that fill it."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]

    @property
    def elements(self) -> int:
        """Size in elements."""
        return math.prod(self.shape)


def _whole(name: str, source: str, *shape: int) -> TensorSpec:
    return TensorSpec(name, shape, (Part(source, shape, 0),))


def _stacked(name: str, width: int, sources: dict[str, int]) -> TensorSpec:
    """Matrices of `width` columns above each other; `sources` gives the rows of each."""
    parts: list[Part] = []
    rows = 0
    for source, height in sources.items():
        parts.append(Part(source, (height, width), rows * width))
        rows += height
    return TensorSpec(name, (rows, width), tuple(parts))


def _stacked_bias(name: str, sources: dict[str, int]) -> TensorSpec:
    parts: list[Part] = []
    length = 0
    for source, height in sources.items():
        parts.append(Part(source, (height,), length))
        length += height
    return TensorSpec(name, (length,), tuple(parts))


def shared_tensors(config: Qwen3MoeConfig) -> tuple[TensorSpec, ...]:
    """The tensors that every device holds."""
    hidden, vocab = config.hidden_size, config.vocab_size
    specs = [
        _whole("embed", "model.embed_tokens.weight", vocab, hidden),
        _whole("norm", "model.norm.weight", hidden),
    ]
    if not config.tie_embeddings:
        specs.append(_whole("lm_head", "lm_head.weight", vocab, hidden))
    for layer in range(config.num_layers):
        specs += _attention(config, layer)
        specs += _feed_forward(config, layer)
    return tuple(specs)


def _attention(config: Qwen3MoeConfig, layer: int) -> list[TensorSpec]:
    hidden, head = config.hidden_size, config.head_dim
    queries, keys = config.num_heads * head, config.num_kv_heads * head
    ours, theirs = f"layers.{layer}.", f"model.layers.{layer}."
    heights = {"q": queries, "k": keys, "v": keys}
    specs = [
        _whole(ours + "input_norm", theirs + "input_layernorm.weight", hidden),
        _stacked(ours + "qkv", hidden, {f"{theirs}self_attn.{n}_proj.weight": h for n, h in heights.items()}),
        _whole(ours + "q_norm", theirs + "self_attn.q_norm.weight", head),
        _whole(ours + "k_norm", theirs + "self_attn.k_norm.weight", head),
        _whole(ours + "o", theirs + "self_attn.o_proj.weight", hidden, queries),
        _whole(ours + "post_norm", theirs + "post_attention_layernorm.weight", hidden),
    ]
    if config.attention_bias:
        biases = {f"{theirs}self_attn.{n}_proj.bias": h for n, h in heights.items()}
        specs.append(_stacked_bias(ours + "qkv_bias", biases))
        specs.append(_whole(ours + "o_bias", theirs + "self_attn.o_proj.bias", hidden))
    return specs


def _feed_forward(config: Qwen3MoeConfig, layer: int) -> list[TensorSpec]:
    hidden = config.hidden_size
    ours, theirs = f"layers.{layer}.", f"model.layers.{layer}.mlp."
    if config.is_sparse(layer):
        return [_whole(ours + "router", theirs + "gate.weight", config.num_experts, hidden)]
    inner = config.intermediate_size
    return [
        _stacked(ours + "gate_up", hidden, {theirs + "gate_proj.weight": inner, theirs + "up_proj.weight": inner}),
        _whole(ours + "down", theirs + "down_proj.weight", hidden, inner),
    ]


def expert_tensor(config: Qwen3MoeConfig, layer: int, expert: int) -> TensorSpec:
    """One expert as one flat tensor: gate [inner, hidden], up [inner, hidden], down [hidden, inner]."""
    hidden, inner = config.hidden_size, config.moe_intermediate_size
    theirs = f"model.layers.{layer}.mlp.experts.{expert}."
    size = hidden * inner
    parts = (
        Part(theirs + "gate_proj.weight", (inner, hidden), 0),
        Part(theirs + "up_proj.weight", (inner, hidden), size),
        Part(theirs + "down_proj.weight", (hidden, inner), 2 * size),
    )
    return TensorSpec(f"layers.{layer}.experts.{expert}", (3 * size,), parts)


def block_shape(config: Qwen3MoeConfig, block_tokens: int) -> tuple[int, ...]:
    """Shape of one block: [layers, keys and values, tokens, KV heads, head size]."""
    return (config.num_layers, 2, block_tokens, config.num_kv_heads, config.head_dim)


def block_bytes(config: Qwen3MoeConfig, block_tokens: int, dtype: str) -> int:
    """Bytes of one block."""
    elements = config.num_layers * 2 * block_tokens * config.num_kv_heads * config.head_dim
    return elements * BYTES_OF[dtype]
