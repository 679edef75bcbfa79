"""Data-parallel training of the reader on CPU: bfloat16 autocast, one pinned thread a process, resumable."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from ...sla.errors import ConfigurationError, DataError
from ..reader.model import ReaderOutput, reading_loss, support_loss
from ..reader.parent import load_tokenizer
from .depth import DepthLessons
from .distillation import Elder, matching_loss
from .encoding import EncodedExamples, TrainingBatch, collate, encode_examples, plan_batches
from .recipe import Recipe, build_examples
from .start import elder_reader, initial_reader

# glibc maps and unmaps every large tensor; keeping the memory instead is 15 % faster and halves the system time.
_ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(16 << 30),
    "MALLOC_ARENA_MAX": "1",
    "OMP_NUM_THREADS": "1",
}
_EXAMPLES = "examples.safetensors"
_LESSONS = "lessons."
_LAYER = re.compile(r"encoder\.layers\.(\d+)\.")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands; kept in its checkpoint.

    step: optimiser steps done. seconds: wall-clock spent, earlier sessions included. share: of the schedule, 0 to 1.
    """

    step: int = 0
    seconds: float = 0.0
    share: float = 0.0
    loss: float = 0.0


def train_reader(recipe: Recipe, data: Path, run: Path, report: Callable[[str], None] = print) -> Path:
    """Train a reader, or go on where the run in folder `run` stopped; returns the file of the trained weights.

    `data` is the folder that the recipe's paths are relative to. `report` gets a line now and then (one process only).
    """
    run.mkdir(parents=True, exist_ok=True)
    _settle_recipe(recipe, run)
    arrays = run / _EXAMPLES
    if not arrays.exists():
        report("reading the sources")
        examples = build_examples(recipe, data)
        encoded = encode_examples(examples, load_tokenizer(), recipe.max_tokens, recipe.seed)
        _save_arrays(encoded, arrays)
    (run / "rendezvous").unlink(missing_ok=True)
    os.environ.update(_ALLOCATOR)
    spawn(_train_process, args=(recipe, run, report), nprocs=recipe.processes)
    return run / "weights.safetensors"


class TrainingRun:
    """One process of a training run."""

    def __init__(self, rank: int, recipe: Recipe, run: Path) -> None:
        self.rank, self.recipe, self.folder = rank, recipe, run
        self.model = initial_reader(recipe.model, recipe.seed)
        self.model.encoder.embeddings.requires_grad_(False)
        self.lessons = DepthLessons(recipe.model, self.model, recipe.seed)
        elder = elder_reader(recipe.model)
        self.elder = None if elder is None else Elder(elder, recipe.model.elder_weight)
        self.parameters = self.model.trainable()
        count = sum(p.numel() for p in self.parameters.values())
        shared = torch.zeros(count + 1 + len(self.lessons.labelled))
        self.gradients, self.agreed = shared[:count], shared[count:]
        self._shared = shared
        at = 0
        for parameter in self.parameters.values():
            parameter.grad = self.gradients[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.parameters, recipe, layered=self.lessons.is_published),
            lr=recipe.learning_rate,
            betas=(0.9, 0.98),
            fused=True,
        )
        self.progress = Progress()

    def step(self, batch: TrainingBatch, share: float) -> float:
        """One optimiser step; `share` is this process's view of the schedule, the mean over processes holds."""
        self.gradients.zero_()
        budgets = self.lessons.budgets(self.progress.step, batch.lengths)
        teacher = self.lessons.teacher(budgets)
        with torch.autocast("cpu", torch.bfloat16):
            output = self.model(batch.ids, batch.segments, batch.lengths, budgets, teacher)
            loss = batch_loss(output, batch)
            if self.elder is not None:
                loss = loss + self.elder.loss(output, batch)
            extra = self.lessons.extra_loss(output)
            if budgets is not None and self.recipe.model.distilled > 0:
                loss = loss + self.recipe.model.distilled * matching_loss(output, self._full(batch), _claims(batch))
        (loss if extra is None else loss + extra).backward()
        self.lessons.after(self.progress.step, output.traces)
        share = self._agree(share)
        self._update(self.recipe.learning_rate * _schedule(share, self.recipe.warmup))
        loss_value = float(loss.detach())
        mean = loss_value if self.progress.step == 0 else 0.98 * self.progress.loss + 0.02 * loss_value
        self.progress = replace(self.progress, step=self.progress.step + 1, share=share, loss=mean)
        return loss_value

    def _agree(self, share: float) -> float:
        """Take the processes' mean of gradients, of what lessons go by, and of `share`, which is returned."""
        self.agreed[0], self.agreed[1:] = share, self.lessons.labelled
        dist.all_reduce(self._shared)
        self._shared /= self.recipe.processes
        self.lessons.agree(self.agreed[1:].clone())
        return float(self.agreed[0])

    def _update(self, rate: float) -> None:
        """Change the parameters against their gradients, of a norm of at most 1, with the learning rate `rate`."""
        norm = float(self.gradients.norm())
        if norm > 1.0:
            self.gradients /= norm
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["scale"] * self.lessons.rate(group["layer"])
        self.optimizer.step()

    @torch.no_grad()
    def _full(self, batch: TrainingBatch) -> ReaderOutput:
        """What the model says of the batch with all of its compute."""
        return self.model(batch.ids, batch.segments, batch.lengths)

    def save(self) -> None:
        """Write weights and optimiser state, then move them into place."""
        state = {f"weight.{name}": value.detach() for name, value in self.model.stored().items()}
        names = {id(p): name for name, p in self.parameters.items()}
        for parameter, moments in self.optimizer.state.items():
            for kind, value in moments.items():
                state[f"{kind}.{names[id(parameter)]}"] = value
        state |= {f"{_LESSONS}{name}": value for name, value in self.lessons.state().items()}
        temporary = self.folder / "checkpoint.tmp"
        save_file(state, temporary, metadata={"progress": json.dumps(vars(self.progress))})
        os.replace(temporary, self.folder / "checkpoint.safetensors")

    def resume(self) -> None:
        """Go on from the checkpoint of the folder, if there is one."""
        path = self.folder / "checkpoint.safetensors"
        if not path.exists():
            return
        state = load_file(path)
        with torch.no_grad():
            for name, value in self.model.stored().items():
                value.copy_(state[f"weight.{name}"])
            for name, parameter in self.parameters.items():
                kinds = ("step", "exp_avg", "exp_avg_sq")
                self.optimizer.state[parameter] = {kind: state[f"{kind}.{name}"] for kind in kinds}
        kept = {name.removeprefix(_LESSONS): value for name, value in state.items() if name.startswith(_LESSONS)}
        self.lessons.restore(kept)
        self.progress = read_progress(self.folder)


def read_progress(run: Path) -> Progress:
    """Where the run in folder `run` stood at its last checkpoint."""
    with safe_open(run / "checkpoint.safetensors", "pt") as checkpoint:
        return Progress(**json.loads(checkpoint.metadata()["progress"]))


def load_examples(run: Path) -> EncodedExamples:
    """The examples of the run in folder `run`."""
    return EncodedExamples(**{name: tensor.numpy() for name, tensor in load_file(run / _EXAMPLES).items()})


def batch_loss(output: ReaderOutput, batch: TrainingBatch) -> Tensor:
    """Reading loss over the rows without support labels plus support loss over the others, weighted by their share."""
    is_claim = _claims(batch)
    loss = output.start.new_zeros(())
    for rows, part in ((~is_claim, "reading"), (is_claim, "support")):
        if not bool(rows.any()):
            continue
        chosen = output.only(rows)
        value = (
            reading_loss(chosen, batch.start[rows], batch.end[rows])
            if part == "reading"
            else support_loss(chosen, batch.labels[rows])
        )
        loss = loss + rows.float().mean() * value
    return loss


def _claims(batch: TrainingBatch) -> Tensor:
    """Bool [batch]: which rows are claims, not questions."""
    return batch.labels.any(-1)


def parameter_groups(
    parameters: dict[str, torch.nn.Parameter], recipe: Recipe, *, layered: bool
) -> list[dict[str, Any]]:
    """The optimiser's groups: matrices decay, biases and vectors do not; routers and gates learn faster from nothing.

    layered: whether each layer's weights are groups of their own; `layer` is its number, None for the other groups.
    """
    groups: dict[tuple[int | None, bool, float], dict[str, Any]] = {}
    for name, parameter in parameters.items():
        is_fast = ".router." in name or name.endswith(".gate")
        # The experts' biases are stacked to a matrix, and biases all the same.
        decays = parameter.ndim > 1 and not is_fast and not name.endswith("bias")
        found = _LAYER.match(name) if layered and not is_fast else None
        layer = int(found.group(1)) if found is not None else None
        scale = recipe.model.fast_rate if is_fast else 1.0
        empty = {"params": [], "weight_decay": recipe.weight_decay * decays, "scale": scale, "layer": layer}
        groups.setdefault((layer, decays, scale), empty)["params"].append(parameter)
    return list(groups.values())


def _train_process(rank: int, recipe: Recipe, folder: Path, report: Callable[[str], None]) -> None:
    _join_group(rank, recipe, folder)
    run = TrainingRun(rank, recipe, folder)
    run.resume()
    data = load_examples(folder)
    steps = list(plan_batches(data.lengths, recipe.batch_tokens, recipe.processes, recipe.seed))
    if not steps:
        raise DataError(
            f"{len(data.lengths)} examples make no batch for each of {recipe.processes} processes",
            remedy="train on more examples, or with fewer processes or smaller batches",
        )
    total = max(1, int(len(steps) * recipe.epochs))
    began, saved = time.monotonic() - run.progress.seconds, time.monotonic()
    while run.progress.share < 1.0:
        share = (run.progress.step + 1) / total
        if recipe.minutes is not None:
            share = max(share, (time.monotonic() - began) / (60 * recipe.minutes))
        run.step(collate(data, steps[run.progress.step % len(steps)][rank]), min(1.0, share))
        run.progress = replace(run.progress, seconds=time.monotonic() - began)
        if rank == 0 and run.progress.step % 50 == 0:
            report(_progress_line(run.progress, total))
        if rank == 0 and time.monotonic() - saved >= recipe.checkpoint_seconds:
            run.save()
            saved = time.monotonic()
    if rank == 0:
        run.save()
        weights = {name: value.detach().contiguous() for name, value in run.model.stored().items()}
        save_file(weights, folder / "weights.safetensors")
    dist.destroy_process_group()


def _join_group(rank: int, recipe: Recipe, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(recipe.seed)
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})
    store = f"file://{(folder / 'rendezvous').resolve()}"
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=recipe.processes)


def _progress_line(progress: Progress, total: int) -> str:
    minutes = progress.seconds / 60
    return f"step {progress.step}/{total}  {progress.share:.1%}  loss {progress.loss:.3f}  {minutes:.1f} min"


def _schedule(share: float, warmup: float) -> float:
    if share < warmup:
        return share / warmup
    return max(0.0, (1.0 - share) / (1.0 - warmup))


def _settle_recipe(recipe: Recipe, run: Path) -> None:
    path = run / "recipe.json"
    if path.exists() and not _is_recipe(recipe, path.read_text(encoding="utf-8")):
        raise ConfigurationError(
            f"{str(path)!r} holds another recipe", remedy="choose a new run folder, or remove this one"
        )
    path.write_text(recipe.model_dump_json(indent=1), encoding="utf-8")


def _is_recipe(recipe: Recipe, text: str) -> bool:
    """Whether `text` trains what `recipe` does; fields that its version did not have yet have their defaults."""
    try:
        return recipe.trains_as(Recipe.model_validate_json(text))
    except ValidationError:
        return False


def _save_arrays(data: EncodedExamples, path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    save_file({name: torch.from_numpy(array) for name, array in vars(data).items()}, temporary)
    os.replace(temporary, path)
