"""Encoder weights as state dicts: loaded, and interpolated for merges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from bench.addresses import weights_key
from bench.errors import InputError
from bench.recipes import Encoder, Merged, Pretrained, Tuned
from bench.store import MissingOutput, Store

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]


def interpolate(states: Sequence[State], weights: Sequence[float]) -> dict[str, Tensor]:
    """Weighted sum of state dicts, entry by entry (WiSE-FT section 3: all entries).

    Entries that are not floating point (counters) must be equal and are copied. Raises
    InputError for missing keys, differing shapes or counters.
    """
    first = states[0]
    for other in states[1:]:
        if odd := sorted(first.keys() ^ other.keys()):
            raise InputError(f"cannot merge weights: only one side has {', '.join(odd[:3])}")
        for name, tensor in first.items():
            if tensor.shape != other[name].shape:
                shapes = f"{tuple(tensor.shape)} and {tuple(other[name].shape)}"
                raise InputError(f"cannot merge weights: {name} is {shapes}")
    merged = {}
    for name, tensor in first.items():
        if tensor.is_floating_point():
            total = weights[0] * tensor
            for weight, other in zip(weights[1:], states[1:], strict=True):
                total = total + weight * other[name]
            merged[name] = total
        elif all(tensor.equal(other[name]) for other in states[1:]):
            merged[name] = tensor
        else:
            raise InputError(f"cannot merge weights: {name} differs and is no real number")
    return merged


def encoder_state(encoder: Encoder, known: Callable[[Pretrained | Tuned], State]) -> State:
    """The image tower's state dict for `encoder`; `known` gives those that are no merge."""
    if isinstance(encoder, Merged):
        parts = [encoder_state(part, known) for part in encoder.parts]  # type: ignore[arg-type]
        return interpolate(parts, encoder.weights)
    return known(encoder)


def tuned_encoder(recipe: Tuned, store: Store) -> dict[str, Tensor]:
    """The image tower of a stored training, on the CPU. Raises MissingOutput if it is absent."""
    from safetensors.torch import load

    key = weights_key(recipe)
    data = store.read(store.path("weights", key))
    if data is None:
        raise MissingOutput(f"weights {key}")
    prefix = "encoder."
    return {n.removeprefix(prefix): t for n, t in load(data).items() if n.startswith(prefix)}
