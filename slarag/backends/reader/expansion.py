"""From a dense reader to a dynamic one: layers added in depth, feed-forward blocks upcycled in width.

DLO (arXiv 2407.11030) adds a layer after each group of the parent's. Its identity initialisation zeroes projections,
which is no identity in a post-norm encoder; here the added layer's gate is zero instead. Upcycling follows Komatsuzaki
et al. (2023), with experts that hold a part of the dense block's units.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from .config import EncoderConfig, Skip

Initialisation = Literal["identity", "copy", "linear", "slerp"]
Weights = dict[str, Tensor]

LAYERS = "encoder.layers."


def added_positions(num_layers: int, group: int) -> tuple[int, ...]:
    """Positions in the expanded stack of the layers added after each `group` of `num_layers`; none for a group of 0."""
    if group < 1:
        return ()
    return tuple((index + 1) * (group + 1) - 1 for index in range(num_layers // group))


def dynamic_config(
    dense: EncoderConfig, *, group: int = 0, experts: int = 0, top_k: int = 1, shared: float = 0.5, skip: Skip = "none"
) -> EncoderConfig:
    """The dense config expanded after each `group` layers, with `experts` upcycled to share the part `shared`, which
    may be nothing.

    With a `top_k` of 1 a token costs as much in each layer as in the dense one.
    """
    added = added_positions(dense.num_layers, group)
    common = round(dense.intermediate_size * shared) if experts else 0
    return replace(
        dense,
        num_layers=dense.num_layers + len(added),
        added_layers=added,
        experts=experts,
        top_k=top_k,
        shared_size=common,
        expert_size=(dense.intermediate_size - common) if experts else 0,
        skip=skip,
    )


def expanded(weights: Weights, config: EncoderConfig, initialisation: Initialisation = "identity") -> Weights:
    """Weights of a dynamic reader of `config` that starts from the dense reader's `weights`.

    With `identity` it computes what the dense reader does; the routers are left to their own initialisation.
    """
    result = {name: tensor for name, tensor in weights.items() if not name.startswith(LAYERS)}
    kept = [index for index in range(config.num_layers) if index not in config.added_layers]
    for source, target in enumerate(kept):
        result.update(_renamed(_layer(weights, source), target, config))
    for target in config.added_layers:
        before = sum(index < target for index in kept) - 1
        result.update(_renamed(_between(weights, before, len(kept), initialisation), target, config))
        gate = torch.zeros if initialisation == "identity" else torch.ones
        result[f"{LAYERS}{target}.gate"] = gate(config.hidden_size)
    return result


def _layer(weights: Weights, index: int) -> Weights:
    prefix = f"{LAYERS}{index}."
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}


def _between(weights: Weights, before: int, layers: int, initialisation: Initialisation) -> Weights:
    first = _layer(weights, before)
    if initialisation in ("identity", "copy") or before + 1 >= layers:
        return first
    second = _layer(weights, before + 1)
    mix = _slerp if initialisation == "slerp" else _lerp
    return {name: mix(tensor, second[name]) for name, tensor in first.items()}


def _lerp(a: Tensor, b: Tensor) -> Tensor:
    return (a + b) / 2


def _slerp(a: Tensor, b: Tensor) -> Tensor:
    """Half way from `a` to `b` on the arc between their directions, with the mean of their norms."""
    norm_a, norm_b = a.norm(), b.norm()
    if norm_a == 0 or norm_b == 0:
        return _lerp(a, b)
    unit_a, unit_b = a / norm_a, b / norm_b
    angle = torch.arccos((unit_a * unit_b).sum().clamp(-1, 1))
    if angle.sin().abs() < 1e-4:
        return _lerp(a, b)
    return (unit_a + unit_b) * (torch.sin(angle / 2) / torch.sin(angle)) * (norm_a + norm_b) / 2


def _renamed(layer: Weights, target: int, config: EncoderConfig) -> Weights:
    own = {name: tensor for name, tensor in layer.items() if not name.startswith(("up.", "down."))}
    own.update(_upcycled(layer, config) if config.experts else _dense(layer))
    return {f"{LAYERS}{target}.{name}": tensor.clone() for name, tensor in own.items()}


def _dense(layer: Weights) -> Weights:
    return {f"feed_forward.{name}": tensor for name, tensor in layer.items() if name.startswith(("up.", "down."))}


def _upcycled(layer: Weights, config: EncoderConfig) -> Weights:
    up, bias, down = layer["up.weight"], layer["up.bias"], layer["down.weight"]
    # The units that weigh most are shared: what every token needs is learned once.
    order = (up.norm(dim=1) * down.norm(dim=0)).argsort(descending=True, stable=True)
    common, rest = order[: config.shared_size], order[config.shared_size :]
    shared = {
        "feed_forward.shared_up.weight": up[common],
        "feed_forward.shared_up.bias": bias[common],
        "feed_forward.shared_down.weight": down[:, common],
        "feed_forward.shared_down.bias": layer["down.bias"],
    }
    return {
        **(shared if config.shared_size else {"feed_forward.down_bias": layer["down.bias"]}),
        "feed_forward.expert_up": up[rest].expand(config.experts, -1, -1),
        "feed_forward.expert_up_bias": bias[rest].expand(config.experts, -1),
        "feed_forward.expert_down": down[:, rest].expand(config.experts, -1, -1),
    }
