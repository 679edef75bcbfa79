"""Which device's experts serve which rows: every expert is on one device or, with replicas, on several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..models.experts import Group

Owners = Mapping[int, Sequence[Sequence[int]]]
"""By layer with experts: the devices of each expert, one or more."""


def owners_of(raw: Mapping[str, Sequence[int | Sequence[int]]]) -> Owners:
    """Owners as a message has them: a device, or several, by layer and expert."""
    return {
        int(layer): tuple((found,) if isinstance(found, int) else tuple(found) for found in owners)
        for layer, owners in raw.items()
    }


class Routes:
    """A placement as one device sees it."""

    def __init__(self, device: int, owners: Owners) -> None:
        self._device = device
        self._owners = owners
        self._is_here = {layer: all(device in found for found in experts) for layer, experts in owners.items()}

    def is_here(self, layer: int) -> bool:
        """Whether this device holds every expert of `layer`."""
        return self._is_here[layer]

    def after(self, moves: Iterable[tuple[int, int, int]]) -> Routes:
        """The same but for experts (layer, expert, device) that are on one other device now."""
        owners = dict(self._owners)
        for layer, expert, device in moves:
            found = owners[layer]
            owners[layer] = (*found[:expert], (device,), *found[expert + 1 :])
        return Routes(self._device, owners)

    def differs(self, other: Routes, layer: int) -> bool:
        """Whether `other` has other owners for `layer`."""
        return self._owners[layer] != other._owners[layer]

    def split(self, layer: int, groups: Sequence[Group]) -> dict[int, list[Group]]:
        """Each group's device. What only one device holds goes there; a replica is taken where the fewest rows are.

        The largest groups choose first, so that the last ones even out what is left (a greedy balance as in EPLB).
        Among equals this device is taken: rows that stay cost no message.
        """
        owners = self._owners[layer]
        shares: dict[int, list[Group]] = {}
        rows: dict[int, int] = {}
        for group in sorted(groups, key=lambda group: (len(owners[group[0]]) > 1, -group[2])):
            device = min(owners[group[0]], key=lambda device: (rows.get(device, 0), device != self._device))
            shares.setdefault(device, []).append(group)
            rows[device] = rows.get(device, 0) + group[2]
        return shares
