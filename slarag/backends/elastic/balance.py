"""Which experts get further copies, and where, so that no device waits for the busiest one.

A greedy balance as in EPLB (deepseek-ai/EPLB): again and again the layer that is least even gets a copy of an expert of
its busiest device on its least busy one. A copy takes an equal share of its expert's tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .placement import Placement, Replicas


def hot_replicas(placement: Placement, counts: Sequence[Sequence[int]], spare: Mapping[int, int]) -> Replicas:
    """Further copies for the experts of `placement`, whose own replicas are not looked at.

    counts: tokens by layer (in the order of `placement.owners`) and expert. spare: by device, how many experts it has
    room for. Only copies that make the busiest device of a layer less busy are made.
    """
    layers = {
        layer: _Layer(owner, tokens, placement.devices)
        for (layer, owner), tokens in zip(placement.owners.items(), counts, strict=True)
    }
    left, open_layers = dict(spare), set(layers)
    while open_layers:
        worst = max(open_layers, key=lambda layer: (layers[layer].excess, -layer))
        target = layers[worst].add_copy([device for device, room in left.items() if room > 0])
        if target is None:
            open_layers.remove(worst)
        else:
            left[target] -= 1
    return {
        (layer, expert): tuple(devices[1:])
        for layer, state in layers.items()
        for expert, devices in enumerate(state.copies)
        if len(devices) > 1
    }


def unevenness(placement: Placement, counts: Sequence[Sequence[int]]) -> float:
    """Tokens of each layer's busiest device over those of its mean one, with the replicas of `placement`; 1 is even."""
    busiest = mean = 0.0
    for (layer, owner), tokens in zip(placement.owners.items(), counts, strict=True):
        state = _Layer(owner, tokens, placement.devices)
        for expert, holders in enumerate(state.copies):
            holders.extend(placement.replicas.get((layer, expert), ()))
        busiest += state.busiest
        mean += sum(tokens) / len(placement.devices)
    return busiest / mean if mean else 1.0


class _Layer:
    """Who holds which copies in one layer."""

    def __init__(self, owner: Sequence[int], tokens: Sequence[int], devices: Sequence[int]) -> None:
        self.copies = [[device] for device in owner]
        self._tokens = tokens
        self._devices = devices

    @property
    def busiest(self) -> float:
        """Tokens of the busiest device."""
        return max(self._loads().values())

    @property
    def excess(self) -> float:
        """Tokens of the busiest device beyond the mean."""
        loads = self._loads()
        return max(loads.values()) - sum(loads.values()) / len(loads)

    def add_copy(self, targets: Sequence[int]) -> int | None:
        """Copy the hottest expert of the busiest device that helps to the least busy of `targets`; returns that."""
        loads = self._loads()
        busiest = max(loads, key=lambda device: (loads[device], -device))
        held = [expert for expert, devices in enumerate(self.copies) if busiest in devices]
        for expert in sorted(held, key=lambda expert: (-self._share(expert), expert)):
            for target in sorted(targets, key=lambda device: (loads[device], device)):
                if target not in self.copies[expert] and self._helps(expert, target, loads[busiest]):
                    self.copies[expert].append(target)
                    return target
        return None

    def _helps(self, expert: int, target: int, before: float) -> bool:
        self.copies[expert].append(target)
        after = max(self._loads().values())
        self.copies[expert].pop()
        return after < before

    def _share(self, expert: int) -> float:
        return self._tokens[expert] / len(self.copies[expert])

    def _loads(self) -> dict[int, float]:
        loads = dict.fromkeys(self._devices, 0.0)
        for expert, devices in enumerate(self.copies):
            for device in devices:
                loads[device] += self._share(expert)
        return loads
