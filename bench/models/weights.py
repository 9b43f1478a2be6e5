"""Encoder weights as state dicts: loaded, and interpolated for merges."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.api.recipes import (
    Encoder,
    External,
    Fisher,
    Imported,
    Merged,
    Pretrained,
    Tuned,
    weights_key,
)
from bench.core.errors import InputError
from bench.core.store import MissingOutput, Store
from bench.models.heads import import_lost

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]
Whole = Pretrained | Tuned | Imported | External | Fisher
"""Encoders that are no merge, and what weighs the entries of merges."""


def interpolate(states: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """Weighted sum of state dicts, entry by entry (WiSE-FT section 3: all entries).

    Entries that are not floating point (counters) must be equal and are copied. Raises
    InputError for missing keys, differing shapes or counters.
    """
    _check(states)
    merged = {}
    for name, tensor in states[0].items():
        merged[name] = tensor
        if tensor.is_floating_point():
            merged[name] = _sum([w * s[name] for w, s in zip(weights, states, strict=True)])
    return merged


def fisher_interpolate(
    states: Sequence[State], weights: Sequence[float], fishers: Sequence[State], floor: float
) -> dict[str, Tensor]:
    """Weighted mean of state dicts in which each entry also counts by its Fisher information.

    Entry by entry sum(w f theta) / sum(w f), f = max(Fisher, `floor`): Fisher merging as in
    mlfoundations/wise-ft 58b7a4b ``src/wise_ft.py``.

    Parameters
    ----------
    states, weights : as in `interpolate`; weights >= 0 and not all 0.
    fishers : one per state, the diagonal of its Fisher information, >= 0 and of the entries'
        shapes. An entry without one in all of them is averaged by the weights alone.
    floor : > 0, below which no Fisher value counts less (1e-8 is the official default).

    Raises InputError as `interpolate` does, for an entry that only some Fishers have or whose
    shape differs there, and for a floor that is not positive.
    """
    import torch

    _check(states)
    if not floor > 0:
        raise InputError(f"cannot merge weights: the Fisher floor must be positive, got {floor}")
    merged = {}
    for name, tensor in states[0].items():
        known = [fisher[name] for fisher in fishers if name in fisher]
        if len(known) not in (0, len(states)):
            raise InputError(f"cannot merge weights: only some models have a Fisher of {name}")
        if any(fisher.shape != tensor.shape for fisher in known):
            raise InputError(f"cannot merge weights: a Fisher of {name} has another shape")
        merged[name] = tensor
        if tensor.is_floating_point():
            ones = [torch.ones_like(tensor)] * len(states)
            worth = [w * f.clamp(min=floor) for w, f in zip(weights, known or ones, strict=True)]
            parts = [c * state[name] for c, state in zip(worth, states, strict=True)]
            merged[name] = _sum(parts) / _sum(worth)
    return merged


def _sum(parts: Sequence[Tensor]) -> Tensor:
    """The sum from left to right, without a start value."""
    return functools.reduce(operator.add, parts)


def _check(states: Sequence[State]) -> None:
    """InputError unless all states have the same names, shapes and counters."""
    first = states[0]
    for other in states[1:]:
        if odd := sorted(first.keys() ^ other.keys()):
            raise InputError(f"cannot merge weights: only one side has {', '.join(odd[:3])}")
        for name, tensor in first.items():
            if tensor.shape != other[name].shape:
                shapes = f"{tuple(tensor.shape)} and {tuple(other[name].shape)}"
                raise InputError(f"cannot merge weights: {name} is {shapes}")
            if not (tensor.is_floating_point() or tensor.equal(other[name])):
                raise InputError(f"cannot merge weights: {name} differs and is no real number")


def encoder_state(encoder: Encoder, known: Callable[[Whole], State]) -> State:
    """The image tower's state dict; `known` gives those that are no merge, and Fishers."""
    if isinstance(encoder, Merged):
        parts = [encoder_state(part, known) for part in encoder.parts]  # type: ignore[arg-type]
        if encoder.fishers:
            fishers = [known(fisher) for fisher in encoder.fishers]
            return fisher_interpolate(parts, encoder.weights, fishers, encoder.floor)
        return interpolate(parts, encoder.weights)
    return known(encoder)


def stored_encoder(recipe: Tuned | Imported | External | Fisher, store: Store) -> dict[str, Tensor]:
    """The image tower's part of stored weights, on the CPU.

    Raises MissingOutput if they are absent, InputError if they were imported.
    """
    from safetensors.torch import load

    key = weights_key(recipe)
    data = store.read(store.path("weights", key))
    if data is None:
        raise (
            import_lost(recipe) if isinstance(recipe, Imported) else MissingOutput(f"weights {key}")
        )
    prefix = "encoder."
    return {n.removeprefix(prefix): t for n, t in load(data).items() if n.startswith(prefix)}
