"""Which experts a reader uses, layer by layer, and whether that differs between its tasks.

    python bench/routing.py --task NAME=FILE --task NAME=FILE [--limit N] [--budget B] [--reader FOLDER]
        [--plot FILE.png] [--json]

FILE holds question rows (`question`, `context`) or claim rows (`claim`, `evidence`). `min_share_NAME` and
`max_share_NAME` are the least and the greatest share of a layer's active tokens that an expert of it takes in that
task, `min_share` and `max_share` over all tasks together, `difference_NAME_NAME` the share of the tokens that would
have to go elsewhere for one task to be routed as the other (total variation, mean over the layers), with the least and
the greatest over the layers. Tokens that a --budget skips in a layer count in none of its shares. The plot shows every
expert's share.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _common import Figure, document, show

from slarag.backends.reader.backend import ReadFunction
from slarag.backends.reader.dynamic_encoder import DynamicEncoder
from slarag.backends.reader.model import Reader
from slarag.backends.reader.store import SHIPPED, load_reader
from slarag.backends.training.evaluation import window_batches
from slarag.backends.training.sources import Row, read_rows

Shares = npt.NDArray[np.float64]
"""[layers, experts], a layer's sum to 1."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", action="append", required=True, metavar="NAME=FILE", help="rows of one task")
    parser.add_argument("--limit", type=int, default=500, help="rows of each task, drawn by --seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", type=Path, default=SHIPPED, help="default: the mixture that ships")
    parser.add_argument("--budget", type=float, default=1.0, help="compute budget of every row")
    parser.add_argument("--plot", type=Path, help="where the picture goes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    model, _ = load_reader(options.reader)
    if not isinstance(model.encoder, DynamicEncoder) or not model.encoder.config.experts:
        parser.error(f"the reader in {str(options.reader)!r} has no experts")
    tasks = _tasks(options, parser)
    counts = {name: _counts(model, _pairs(file, options), options) for name, file in tasks}
    if options.plot is not None:
        _plot({name: _shares(count) for name, count in counts.items()}, options.plot)
    workload = {"reader": options.reader.name, "rows": options.limit, "budget": options.budget, "tasks": list(counts)}
    show(document(workload, _figures(counts)), as_json=options.json)


def _tasks(options: argparse.Namespace, parser: argparse.ArgumentParser) -> list[tuple[str, Path]]:
    parts = [entry.partition("=") for entry in options.task]
    for name, _, file in parts:
        if not name or not file:
            parser.error(f"--task {name!r} is not NAME=FILE")
    return [(name, Path(file)) for name, _, file in parts]


def _pairs(file: Path, options: argparse.Namespace) -> list[tuple[str, str]]:
    rows = list(read_rows(file))
    drawn = random.Random(options.seed).sample(rows, min(options.limit, len(rows)))
    return [_texts(row) for row in drawn]


def _texts(row: Row) -> tuple[str, str]:
    return (row["claim"], row["evidence"]) if "claim" in row else (row["question"], row["context"])


def _counts(model: Reader, pairs: list[tuple[str, str]], options: argparse.Namespace) -> npt.NDArray[np.int64]:
    """Active tokens that each expert of each layer takes, [layers, experts]."""
    assert isinstance(model.encoder, DynamicEncoder)
    layers = model.encoder.layers
    taken = np.zeros((len(layers), model.encoder.config.experts), np.int64)

    def count(at: int) -> Any:
        def hook(layer: torch.nn.Module, given: Any, found: Any) -> None:
            taken[at] += found[1].experts.numpy()

        return hook

    hooks = [layer.register_forward_hook(count(at)) for at, layer in enumerate(layers)]
    read = ReadFunction(model, options.threads)
    for batch in window_batches(pairs):
        read([replace(window, budget=options.budget) for _, window in batch])
    for hook in hooks:
        hook.remove()
    return taken


def _shares(counts: npt.NDArray[np.int64]) -> Shares:
    return counts / counts.sum(axis=1, keepdims=True).clip(1)


def _figures(counts: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    # Each task counts the same, however long its passages are.
    mixed = np.mean([_shares(count) for count in counts.values()], axis=0)
    for name, shares in {"": mixed, **{f"_{name}": _shares(count) for name, count in counts.items()}}.items():
        figures[f"min_share{name}"] = _figure(shares.min(), shares.size)
        figures[f"max_share{name}"] = _figure(shares.max(), shares.size)
    for one, other in itertools.combinations(counts, 2):
        apart = np.abs(_shares(counts[one]) - _shares(counts[other])).sum(axis=1) / 2
        figures[f"difference_{one}_{other}"] = _figure(apart.mean(), len(apart), apart.min(), apart.max())
    return figures


def _figure(value: float, n: int, low: float | None = None, high: float | None = None) -> Figure:
    return {
        "value": float(value),
        "unit": "share",
        "low": float(value if low is None else low),
        "high": float(value if high is None else high),
        "n": n,
    }


def _plot(shares: Mapping[str, Shares], file: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(shares), figsize=(1.2 + 3.2 * len(shares), 4), sharey=True, squeeze=False)
    top = max(float(each.max()) for each in shares.values())
    image = None
    for axis, (name, each) in zip(axes[0], shares.items(), strict=True):
        image = axis.imshow(each, cmap="viridis", vmin=0, vmax=top, aspect="auto")
        axis.set(title=name, xlabel="expert", xticks=range(each.shape[1]), yticks=range(each.shape[0]))
        for (layer, expert), share in np.ndenumerate(each):
            color = "black" if share > 0.7 * top else "white"
            axis.text(expert, layer, f"{share:.0%}", ha="center", va="center", fontsize=7, color=color)
    axes[0][0].set_ylabel("layer")
    figure.colorbar(image, ax=axes[0].tolist(), label="share of the layer's active tokens")
    figure.savefig(file, dpi=150, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    main()
