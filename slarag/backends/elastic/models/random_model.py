"""Makes a Qwen3-MoE checkpoint of any size with random weights and a tokenizer, for tests and benchmarks.

    python -m slarag.backends.elastic.models.random_model FOLDER --hidden 256 --layers 4 --experts 8

The folder is a Hugging Face one (config.json, sharded safetensors with an index, tokenizer.json), so that other servers
can be measured on the same weights.
"""

from __future__ import annotations

import argparse
import itertools
import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .config import BYTES_OF, Qwen3MoeConfig
from .layout import TensorSpec, expert_tensor, shared_tensors

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor

SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
MIN_VOCAB = 256 + len(SPECIAL_TOKENS)


def make_random_model(folder: Path, config: Qwen3MoeConfig, *, seed: int = 0, shard_bytes: int = 500_000_000) -> Path:
    """Write a checkpoint into `folder` (made if missing) and return it.

    Weights are normal with standard deviation 1 / sqrt(inputs), norms are near one; the same seed gives the same bytes.
    shard_bytes: upper limit of a safetensors file, unless one tensor is larger.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "config.json", config.to_huggingface())
    _write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "Qwen2TokenizerFast", "eos_token": SPECIAL_TOKENS[2], "chat_template": CHAT_TEMPLATE},
    )
    make_tokenizer(config.vocab_size).save(str(folder / "tokenizer.json"))
    _write_shards(folder, config, seed, shard_bytes)
    return folder


def model_bytes(config: Qwen3MoeConfig) -> int:
    """Size of the weights in bytes."""
    experts = len(config.sparse_layers) * config.num_experts * config.expert_elements
    return BYTES_OF[config.dtype] * (experts + sum(spec.elements for spec in shared_tensors(config)))


def make_tokenizer(vocab_size: int) -> Tokenizer:
    """A byte-level BPE tokenizer with exactly `vocab_size` tokens, at least 259, whose every token decodes to text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = list(itertools.islice(_merges(), max(0, vocab_size - MIN_VOCAB)))
    words = [*alphabet, *(left + right for left, right in merges)]
    model = models.BPE(vocab={word: index for index, word in enumerate(words)}, merges=merges)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return tokenizer


def _merges() -> Iterator[tuple[str, str]]:
    """Pairs of letters, then pairs with a letter, then pairs with pairs: 475,228 different words."""
    letters = string.ascii_lowercase
    pairs = [left + right for left, right in itertools.product(letters, letters)]
    yield from itertools.product(letters, letters)
    yield from itertools.product(pairs, letters)
    yield from itertools.product(pairs, pairs)


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _all_tensors(config: Qwen3MoeConfig) -> Iterator[TensorSpec]:
    yield from shared_tensors(config)
    for layer, expert in itertools.product(config.sparse_layers, range(config.num_experts)):
        yield expert_tensor(config, layer, expert)


def _write_shards(folder: Path, config: Qwen3MoeConfig, seed: int, shard_bytes: int) -> None:
    from safetensors.torch import save_file

    weight_map: dict[str, str] = {}
    for number, shard in enumerate(_shards(config, seed, shard_bytes), start=1):
        name = f"model-{number:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(shard, name))
    index = {"metadata": {"total_size": model_bytes(config)}, "weight_map": weight_map}
    _write_json(folder / "model.safetensors.index.json", index)


def _shards(config: Qwen3MoeConfig, seed: int, shard_bytes: int) -> Iterator[dict[str, Tensor]]:
    shard: dict[str, Tensor] = {}
    size = 0
    for name, tensor in _random_tensors(config, seed):
        if shard and size + tensor.nbytes > shard_bytes:
            yield shard
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
    yield shard


def _random_tensors(config: Qwen3MoeConfig, seed: int) -> Iterator[tuple[str, Tensor]]:
    import torch

    generator = torch.Generator().manual_seed(seed)
    dtype = getattr(torch, config.dtype)
    for part in (part for spec in _all_tensors(config) for part in spec.parts):
        values = torch.randn(part.shape, generator=generator)
        is_norm = part.source.endswith("norm.weight")
        values = 1 + 0.1 * values if is_norm else values * part.shape[-1] ** -0.5
        yield part.source, values.to(dtype)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Make a Qwen3-MoE checkpoint with random weights.")
    parser.add_argument("folder", type=Path)
    sizes = {"vocab": 1024, "hidden": 256, "layers": 4, "heads": 4, "kv-heads": 2, "head-dim": 64, "experts": 8}
    for name, default in {**sizes, "top-k": 2, "expert-inner": 256, "seed": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", choices=sorted(BYTES_OF), default="bfloat16")
    args = parser.parse_args()
    config = Qwen3MoeConfig(
        vocab_size=args.vocab,
        hidden_size=args.hidden,
        num_layers=args.layers,
        num_heads=args.heads,
        num_kv_heads=args.kv_heads,
        head_dim=args.head_dim,
        num_experts=args.experts,
        experts_per_token=args.top_k,
        moe_intermediate_size=args.expert_inner,
        dtype=args.dtype,
    )
    make_random_model(args.folder, config, seed=args.seed)


if __name__ == "__main__":
    _main()
