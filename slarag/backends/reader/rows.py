"""A batch of token rows laid end to end, without padding between them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rows:
    """Where rows begin and end.

    lengths: int64 [batch]; sizes: the same as plain integers. real: bool [batch, width], the tokens of the padded batch
    that are no padding; place: int64 [tokens], where they are in it; token: int64 [batch * width], which of the tokens
    is there, any for padding. All None where nothing is padded.
    """

    lengths: Tensor
    sizes: tuple[int, ...]
    real: Tensor | None = None
    place: Tensor | None = None
    token: Tensor | None = None

    @classmethod
    def of(cls, lengths: Tensor, longest: int | None = None) -> Rows:
        """Rows of `lengths`, int64 [batch], that are padded to `longest` tokens, by default to the longest row."""
        sizes = tuple(lengths.tolist())
        width = max(sizes) if longest is None else longest
        if min(sizes) == width:
            return cls(lengths, sizes)
        real = torch.arange(width, device=lengths.device) < lengths[:, None]
        flat = real.view(-1)
        return cls(lengths, sizes, real, flat.nonzero().squeeze(-1), (flat.cumsum(0) - 1).clamp(min=0))

    @property
    def width(self) -> int:
        """Tokens of a padded row."""
        return self.sizes[0] if self.real is None else self.real.shape[1]

    def laid(self, padded: Tensor) -> Tensor:
        """[batch, width, ...] end to end: [tokens, ...]."""
        together = padded.flatten(0, 1)
        return together if self.place is None else together[self.place]

    def spread(self, laid: Tensor) -> Tensor:
        """As `padded`, with other tokens of no meaning as the padding, which is quicker."""
        batch, rest = len(self.sizes), laid.shape[1:]
        return (laid if self.token is None else laid[self.token]).view(batch, self.width, *rest)

    def padded(self, laid: Tensor, fill: float = 0.0) -> Tensor:
        """[tokens, ...] in rows of one width, padded with `fill`: [batch, width, ...]."""
        batch, rest = len(self.sizes), laid.shape[1:]
        if self.place is not None:
            laid = laid.new_full((batch * self.width, *rest), fill).index_copy(0, self.place, laid)
        return laid.view(batch, self.width, *rest)
