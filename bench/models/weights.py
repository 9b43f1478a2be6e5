"""Encoder weights as state dicts: loading, and interpolation for merges."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.api.recipe_parts import weights_key
from bench.api.recipes import (
    Encoder,
    External,
    Fisher,
    Imported,
    Merged,
    Pretrained,
    TensorWeights,
    Tuned,
)
from bench.core.errors import InputError
from bench.core.store import Store
from bench.models.heads import weights_lost

if TYPE_CHECKING:
    import torch
    from torch import Tensor

State = Mapping[str, "Tensor"]
Unmerged = Pretrained | Tuned | Imported | External | Fisher
"""Encoders that are not merges, and the Fisher information that weights the entries of merges."""


def interpolate(states: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted sum of state dicts, over all entries (WiSE-FT section 3).

    Entries of integers and booleans (counters of batch normalisation, position ids) have no mean
    and no effect on features: those of the last state with a weight, the fine-tuned one, are
    taken. Raises InputError for missing keys, for shapes that differ, and for other kinds of
    numbers, such as complex ones.

    Examples
    --------
    >>> import torch
    >>> from bench.models.weights import interpolate
    >>> zero_shot, tuned = {"w": torch.tensor([0.0, 2.0])}, {"w": torch.tensor([1.0, 4.0])}
    >>> interpolate([zero_shot, tuned], [0.5, 0.5])
    {'w': tensor([0.5000, 3.0000])}
    """
    _check(states)
    counted = _last(states, weights)
    merged = {}
    for name, tensor in states[0].items():
        merged[name] = counted[name]
        if tensor.is_floating_point():
            merged[name] = _sum([w * s[name] for w, s in zip(weights, states, strict=True)])
    return merged


def fisher_interpolate(
    states: Sequence[State], weights: Sequence[float], fishers: Sequence[State], floor: float
) -> dict[str, Tensor]:
    """Return the mean of state dicts with each entry also weighted by its Fisher information.

    Each entry is sum(w f theta) / sum(w f) with f = max(Fisher, `floor`). This is Fisher merging as
    in mlfoundations/wise-ft 58b7a4b ``src/wise_ft.py``.

    Parameters
    ----------
    states, weights : as in `interpolate`; weights >= 0 and not all 0.
    fishers : one per state: the diagonal of its Fisher information, >= 0, in the shapes of the
        state's entries. Entries that no Fisher has are averaged with the weights alone.
    floor : smallest Fisher value, > 0; smaller ones are raised to it (official default: 1e-8).

    Raises InputError as `interpolate` does, for an entry that only some Fishers have or that has
    another shape there, and for a floor that is not positive.

    Examples
    --------
    >>> import torch
    >>> from bench.models.weights import fisher_interpolate
    >>> states = [{"w": torch.tensor([0.0, 0.0])}, {"w": torch.tensor([1.0, 1.0])}]
    >>> fishers = [{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([1.0, 3.0])}]
    >>> fisher_interpolate(states, [0.5, 0.5], fishers, floor=1.0)
    {'w': tensor([0.5000, 0.7500])}
    """
    import torch

    _check(states)
    if not floor > 0:
        raise InputError(f"cannot merge weights: the Fisher floor must be positive, got {floor}")
    counted = _last(states, weights)
    merged = {}
    for name, tensor in states[0].items():
        known = [fisher[name] for fisher in fishers if name in fisher]
        if len(known) not in (0, len(states)):
            raise InputError(
                f"cannot merge weights: only some models have a Fisher of {name}, expected all or "
                "none"
            )
        if any(fisher.shape != tensor.shape for fisher in known):
            raise InputError(
                f"cannot merge weights: a Fisher of {name} has another shape than the weights, "
                f"expected {tuple(tensor.shape)}"
            )
        merged[name] = counted[name]
        if tensor.is_floating_point():
            ones = [torch.ones_like(tensor)] * len(states)
            factors = [w * f.clamp(min=floor) for w, f in zip(weights, known or ones, strict=True)]
            parts = [c * state[name] for c, state in zip(factors, states, strict=True)]
            merged[name] = _sum(parts) / _sum(factors)
    return merged


def interpolate_tensors(states: Sequence[State], rule: TensorWeights) -> dict[str, Tensor]:
    """Return the weighted sum of state dicts with weights of its own for each entry.

    Entries that are no floating-point numbers are those of the last state. Raises InputError as
    `interpolate` does, and whatever `rule` raises.

    Examples
    --------
    >>> import torch
    >>> from bench.methods.lines import LayerScaling
    >>> from bench.models.weights import interpolate_tensors
    >>> names = ("conv1", "blocks.0.w", "blocks.1.w")
    >>> start, tuned = ({n: torch.tensor([x]) for n in names} for x in (0.0, 1.0))
    >>> [t.item() for t in interpolate_tensors([start, tuned], LayerScaling(0.5)).values()]
    [0.5, 0.5, 1.0]
    """
    _check(states)
    numbers = [{n: t for n, t in state.items() if t.is_floating_point()} for state in states]
    merged = dict(states[-1])
    for name, weights in rule.of(numbers).items():
        pairs = zip(weights, numbers, strict=True)
        merged[name] = _sum([weight * state[name] for weight, state in pairs])
    return merged


_BLOCK = re.compile(r"(?:.*?\.)??\w*?(?:blocks|layers|layer\d+)\.\d+(?=\.)")


def tower_blocks(names: Iterable[str]) -> list[str]:
    """Return the modules that are the blocks of an image tower, from the first to the last.

    `names` are those of its state, in the order of the model. Blocks are the numbered members of
    lists such as ``resblocks`` (open_clip's transformers), ``blocks`` (timm's, also within
    ``stages``), ``layers`` and ``layer1`` to ``layer4`` (ResNets).

    Examples
    --------
    >>> from bench.models.weights import tower_blocks
    >>> tower_blocks(["conv1.weight", "transformer.resblocks.0.ln_1.bias", "proj"])
    ['transformer.resblocks.0']
    """
    found = (_BLOCK.match(name) for name in names)
    return list(dict.fromkeys(match[0] for match in found if match))


def _sum(parts: Sequence[Tensor]) -> Tensor:
    """Return the sum from left to right, without a start value."""
    return functools.reduce(operator.add, parts)


def _last(states: Sequence[State], weights: Sequence[float]) -> State:
    """Return the last state whose weight is not 0: that of the fine-tuned model."""
    return [s for s, weight in zip(states, weights, strict=True) if weight != 0.0][-1]


def _check(states: Sequence[State]) -> None:
    """Raise InputError unless all states have the same names, shapes and kinds of numbers."""
    first = states[0]
    for other in states[1:]:
        if odd := sorted(first.keys() ^ other.keys()):
            raise InputError(
                f"cannot merge weights: only one side has {', '.join(odd[:3])}; merge models of "
                "the same architecture"
            )
        for name, tensor in first.items():
            if tensor.shape != other[name].shape:
                shapes = f"{tuple(tensor.shape)} and {tuple(other[name].shape)}"
                raise InputError(
                    f"cannot merge weights: {name} is {shapes}; merge models of the same "
                    "architecture"
                )
            kinds = _kind(tensor, name), _kind(other[name], name)
            if kinds[0] != kinds[1]:
                raise InputError(
                    f"cannot merge weights: {name} has {kinds[0]} on one side and {kinds[1]} on "
                    "the other; merge models of the same architecture"
                )


def _kind(tensor: Tensor, name: str) -> str:
    """Return what a tensor holds. Raises InputError for what can be neither averaged nor taken."""
    if tensor.is_floating_point():
        return "floating-point numbers"
    if tensor.is_complex() or tensor.is_quantized:
        raise InputError(
            f"cannot merge weights: {name} is {tensor.dtype}, expected floating-point numbers, "
            "integers or booleans; convert it to float32"
        )
    return "integers or booleans"


def encoder_state(encoder: Encoder, known: Callable[[Unmerged], State]) -> State:
    """Return the state dict of an image tower.

    `known` returns the state dicts of encoders that are not merges, and Fisher information.

    Examples
    --------
    >>> import torch
    >>> from bench.api.recipe_parts import encoder_of
    >>> from bench.api.recipes import merge
    >>> from bench.models.weights import encoder_state
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> parts = encoder_of(merge((models.zero_shot, models.base), (0.5, 0.5)))
    >>> known = {models.zero_shot.encoder: torch.zeros(2), models.base: torch.ones(2)}
    >>> encoder_state(parts, lambda part: {"w": known[part]})
    {'w': tensor([0.5000, 0.5000])}
    """
    if isinstance(encoder, Merged):
        parts = [encoder_state(part, known) for part in encoder.parts]  # type: ignore[arg-type]
        if encoder.by_tensor is not None:
            return interpolate_tensors(parts, encoder.by_tensor)
        if encoder.fishers:
            fishers = [known(fisher) for fisher in encoder.fishers]
            return fisher_interpolate(parts, encoder.weights, fishers, encoder.floor)
        return interpolate(parts, encoder.weights)
    return known(encoder)


def stored_encoder(recipe: Tuned | Imported | External | Fisher, store: Store) -> dict[str, Tensor]:
    """Return the image tower's part of stored weights, on the CPU.

    Raises MissingOutput if they are absent, or InputError if they were imported.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.api.recipe_parts import weights_key
    >>> from bench.core.store import Store
    >>> from bench.models.weights import stored_encoder
    >>> from bench.testing.fakes import fake_models
    >>> models, store = fake_models(), Store(Path("store"))
    >>> arrays = {"encoder.proj": np.ones((8, 4)), "head.bias": np.zeros(6)}
    >>> store.write_arrays("weights", weights_key(models.base), arrays)
    >>> {name: tuple(tensor.shape) for name, tensor in stored_encoder(models.base, store).items()}
    {'proj': (8, 4)}
    """
    return stored_part(recipe, store, "encoder.")


def stored_part(
    recipe: Tuned | Imported | External | Fisher, store: Store, prefix: str
) -> dict[str, Tensor]:
    """Return the tensors of stored weights whose names begin with `prefix`, without it.

    Besides ``encoder.`` these are ``head.`` and, of trainings that tune both towers, ``text.``.
    Raises as `stored_encoder` does.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> from bench.api.recipe_parts import weights_key
    >>> from bench.core.store import Store
    >>> from bench.models.weights import stored_part
    >>> from bench.testing.fakes import fake_models
    >>> models, store = fake_models(), Store(Path("store"))
    >>> store.write_arrays("weights", weights_key(models.base), {"head.bias": np.zeros(6)})
    >>> list(stored_part(models.base, store, "head."))
    ['bias']
    """
    from safetensors.torch import load

    data = store.read("weights", weights_key(recipe))
    if data is None:
        raise weights_lost(recipe)
    return {n.removeprefix(prefix): t for n, t in load(data).items() if n.startswith(prefix)}


@dataclass
class HeldEncoders:
    """Weights of encoders that are kept while merges of them are computed, block by block.

    An encoder stays on the device, or else in the machine's memory, if it takes at most half of
    what is free there when it is read. What was kept is not given up for another: where there is
    room for three of five, three are read once. Pretrained weights are those of the model itself.

    Attributes
    ----------
    store : where the weights of tuned and imported encoders are.
    pretrained : returns the pretrained weights.
    device : the device on which merges are computed.

    Examples
    --------
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import torch
    >>> from bench.api.recipe_parts import weights_key
    >>> from bench.core.store import Store
    >>> from bench.models.weights import HeldEncoders
    >>> from bench.testing.fakes import fake_models
    >>> models, store = fake_models(), Store(Path("store"))
    >>> store.write_arrays("weights", weights_key(models.base), {"encoder.proj": np.ones((8, 4))})
    >>> held = HeldEncoders(store, dict, torch.device("cpu"))
    >>> held.state_of(models.base)["proj"] is held.state_of(models.base)["proj"]
    True
    """

    store: Store
    pretrained: Callable[[], State]
    device: torch.device
    kept: dict[Unmerged, State] = field(default_factory=dict)

    def read(self, encoder: Unmerged) -> State:
        """Return the weights of an encoder, or a Fisher information, and keep nothing.

        They are in the order of the model, which files do not keep.
        """
        order = self.pretrained()
        if isinstance(encoder, Pretrained):
            return order
        state = stored_encoder(encoder, self.store)
        return {name: state[name] for name in order if name in state} | state

    def state_of(self, encoder: Unmerged) -> State:
        """Return the same on the device, kept from the last call if there was room."""
        state = self.kept.get(encoder)
        if state is None:
            state = self.read(encoder)
            if not isinstance(encoder, Pretrained):
                state = self._keep(encoder, state)
        return {name: tensor.to(self.device) for name, tensor in state.items()}

    def keep_only(self, encoders: Iterable[Encoder]) -> None:
        """Give up what none of these encoders consists of; all, if there are none."""
        needed = {part for encoder in encoders for part in _unmerged(encoder)}
        self.kept = {encoder: s for encoder, s in self.kept.items() if encoder in needed}

    def _keep(self, encoder: Unmerged, state: State) -> State:
        import torch

        from bench.models.devices import free_memory

        size = sum(tensor.nbytes for tensor in state.values())
        for place in dict.fromkeys((self.device, torch.device("cpu"))):
            if 2 * size <= free_memory(place):
                moved = {name: tensor.to(place) for name, tensor in state.items()}
                self.kept[encoder] = moved
                return moved
        return state


def _unmerged(encoder: Encoder) -> Iterator[Unmerged]:
    if isinstance(encoder, Merged):
        yield from encoder.fishers
        for part in encoder.parts:
            yield from _unmerged(part)  # type: ignore[arg-type]
    else:
        yield encoder
