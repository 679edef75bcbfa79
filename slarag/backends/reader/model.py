"""The reader: an encoder with three heads that read a question and a passage in one forward pass.

* span: P(start) over the passage's tokens and the null position (token 0), then P(end | start). Their product is a
  distribution over spans, so every span of the n best list has a probability.
* answerable: a logit for "this passage answers this question".
* support: supported / refuted / not enough, for a claim in the question's place and evidence in the passage's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import EncoderConfig
from .dynamic import Trace
from .dynamic_encoder import DynamicEncoder
from .encoder import Encoder
from .labels import Teacher
from .linear import Linear

SUPPORT_LABELS = ("supported", "refuted", "not_enough")
END_RANK = 64


@dataclass(frozen=True)
class ReaderOutput:
    """What the heads say about a batch, before anything is normalised.

    start: [batch, length] logits, -inf outside the passage and the null position.
    end_bias, end_query, end_key: the parts of P(end | start), see `Reader.end_logits`.
    answerable: [batch] logits. support: [batch, 3] logits in the order of `SUPPORT_LABELS`. traces: what a dynamic
    encoder did, a layer each.
    """

    start: Tensor
    end_bias: Tensor
    end_query: Tensor
    end_key: Tensor
    answerable: Tensor
    support: Tensor
    traces: tuple[Trace, ...] = ()

    def only(self, rows: Tensor) -> ReaderOutput:
        """The output of the rows that bool [batch] `rows` picks, without traces."""
        return ReaderOutput(
            start=self.start[rows],
            end_bias=self.end_bias[rows],
            end_query=self.end_query[rows],
            end_key=self.end_key[rows],
            answerable=self.answerable[rows],
            support=self.support[rows],
        )


class Reader(nn.Module):
    """Encoder and heads."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.encoder = DynamicEncoder(config) if config.is_dynamic else Encoder(config)
        self.span = Linear(hidden, 2)
        self.end_pair = Linear(hidden, 2 * END_RANK)
        self.pooler = nn.Linear(hidden, hidden)
        self.answerable = nn.Linear(hidden, 1)
        self.support = nn.Linear(hidden, len(SUPPORT_LABELS))
        for head in (self.span, self.end_pair, self.pooler, self.answerable, self.support):
            nn.init.normal_(head.weight, std=0.02)
            nn.init.zeros_(head.bias)

    def forward(
        self,
        ids: Tensor,
        segments: Tensor,
        lengths: Tensor,
        budgets: Tensor | None = None,
        teacher: Teacher | None = None,
    ) -> ReaderOutput:
        """`ids`, `segments`: int64 [batch, length], segment 1 is the passage; `lengths`: int64 [batch].

        `budgets`: float [batch], shares of the full FLOPs that each row may cost, None for all of them; a dense reader
        always costs all. `teacher`: trains the routers.
        """
        states, traces = self._encode(ids, segments, lengths, budgets, teacher)
        start, end_bias = self.span(states).float().unbind(-1)
        end_query, end_key = self.end_pair(states).chunk(2, dim=-1)
        pooled = torch.tanh(self.pooler(states[:, 0]))
        outside = ~span_positions(segments, lengths)
        return ReaderOutput(
            start=start.masked_fill(outside, -math.inf),
            end_bias=end_bias.masked_fill(outside, -math.inf),
            end_query=end_query,
            end_key=end_key,
            answerable=self.answerable(pooled).float().squeeze(-1),
            support=self.support(pooled).float(),
            traces=traces,
        )

    def _encode(
        self, ids: Tensor, segments: Tensor, lengths: Tensor, budgets: Tensor | None, teacher: Teacher | None
    ) -> tuple[Tensor, tuple[Trace, ...]]:
        if isinstance(self.encoder, DynamicEncoder):
            return self.encoder(ids, segments, lengths, budgets, teacher)
        return self.encoder(ids, segments, lengths), ()

    def spent(self, output: ReaderOutput, lengths: Tensor) -> Tensor:
        """The share of the full model's FLOPs that each row of `output` cost; float [batch]."""
        if isinstance(self.encoder, DynamicEncoder):
            return self.encoder.spent(output.traces, lengths)
        return torch.ones(len(lengths))

    def stored(self) -> dict[str, Tensor]:
        """What a reader's file holds: the trained parameters and what was fitted to them."""
        fitted = {name: value for name, value in self.named_buffers() if name.startswith("encoder.schedule.")}
        return {**self.trainable(), **fitted}

    def trainable(self) -> dict[str, nn.Parameter]:
        """The parameters that fine-tuning changes: all but the parent's embeddings."""
        return {name: p for name, p in self.named_parameters() if not name.startswith("encoder.embeddings.")}


def span_positions(segments: Tensor, lengths: Tensor) -> Tensor:
    """Bool [batch, length]: the tokens of the passage (without its closing separator) and the null position 0."""
    positions = torch.arange(segments.shape[1], device=segments.device)
    allowed = (segments == 1) & (positions < lengths[:, None] - 1)
    allowed[:, 0] = True
    return allowed


def end_logits(output: ReaderOutput, starts: Tensor) -> Tensor:
    """Logits of the end given each of `starts`, int64 [batch, n]: [batch, n, length], -inf before the start."""
    query = output.end_query.gather(1, starts.unsqueeze(-1).expand(-1, -1, END_RANK))
    pair = torch.bmm(query.float(), output.end_key.float().transpose(1, 2)) / math.sqrt(END_RANK)
    positions = torch.arange(output.start.shape[1], device=starts.device)
    return (output.end_bias.unsqueeze(1) + pair).masked_fill(positions < starts.unsqueeze(-1), -math.inf)


def reading_loss(output: ReaderOutput, start: Tensor, end: Tensor) -> Tensor:
    """Mean negative log-likelihood of the gold spans (0, 0 means no answer) plus half the answerability loss.

    `start`, `end`: int64 [batch], token positions.
    """
    start_loss = F.cross_entropy(output.start, start)
    end_loss = F.cross_entropy(end_logits(output, start.unsqueeze(-1)).squeeze(1), end, reduction="none")
    answered = (start > 0).float()
    end_loss = (end_loss * answered).sum() / answered.sum().clamp(min=1)
    share = answered.mean()
    null_loss = F.binary_cross_entropy_with_logits(output.answerable, answered)
    return start_loss + share * end_loss + 0.5 * null_loss


def support_loss(output: ReaderOutput, allowed: Tensor) -> Tensor:
    """Mean negative log-likelihood of the allowed labels, bool [batch, 3]; a coarse label allows several."""
    log_p = F.log_softmax(output.support, dim=-1)
    return -torch.logsumexp(log_p.masked_fill(~allowed, -math.inf), dim=-1).mean()
