"""What reading costs, in floating-point operations, and how much of it can be left out."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .config import EncoderConfig

HEAD_UNITS = 130
"""Outputs of the heads that every token passes: start, end, and the two vectors of P(end | start)."""


@dataclass(frozen=True, slots=True)
class Flops:
    """Multiply-adds counted as two operations; embeddings, norms and activations are left out as is usual.

    config: of the encoder. A token costs `always` in every layer whether it is active there or not (its key and value,
    and the router), and `when_active` more where it is: query, attention over the row, output, feed-forward.
    """

    config: EncoderConfig

    def always(self) -> int:
        """Of one token in one layer."""
        hidden = self.config.hidden_size
        seen = 3 * hidden * hidden + hidden * hidden if self.config.skip == "feed_forward" else 2 * hidden * hidden
        return 2 * (seen + hidden * self.config.router_outputs)

    def when_active(self, lengths: Tensor) -> Tensor:
        """Of one active token in one layer of a row of `lengths` tokens; float [batch]."""
        hidden = self.config.hidden_size
        feed_forward = 2 * hidden * self.config.active_intermediate
        if self.config.skip == "feed_forward":
            return (lengths * 0 + 2 * feed_forward).float()
        return 2 * (2 * hidden * hidden + feed_forward + 2 * hidden * lengths.float())

    def fixed(self, lengths: Tensor) -> Tensor:
        """Of a row of `lengths` tokens with no token active anywhere; float [batch]."""
        hidden, layers = self.config.hidden_size, self.config.num_layers
        per_token = layers * self.always() + 2 * hidden * HEAD_UNITS
        attention = 4 * hidden * layers * lengths.float() if self.config.skip == "feed_forward" else 0.0
        return lengths.float() * (per_token + attention)

    def full(self, lengths: Tensor) -> Tensor:
        """Of a row of `lengths` tokens with all of them active in all layers; float [batch]."""
        return self.fixed(lengths) + self.config.num_layers * lengths.float() * self.when_active(lengths)

    def activity(self, budgets: Tensor, lengths: Tensor) -> Tensor:
        """The share of (token, layer) pairs that may be active for the rows to cost `budgets` of full; float [batch].

        A budget under what the fixed part costs gives 0.
        """
        room = budgets * self.full(lengths) - self.fixed(lengths)
        share = room / (self.config.num_layers * lengths.float() * self.when_active(lengths))
        return share.clamp(0.0, 1.0)

    def spent(self, active: Tensor, lengths: Tensor) -> Tensor:
        """Of rows with `active` (token, layer) pairs, as a share of full; float [batch]."""
        return (self.fixed(lengths) + active.float() * self.when_active(lengths)) / self.full(lengths)
