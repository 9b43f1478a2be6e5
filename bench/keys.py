"""Content addresses: a value's canonical form and the hash that names its outputs in the store.

A key is a hash of *what* is computed, never of how or where: fields marked with
``field(metadata=NOT_KEYED)`` (paths, thread counts) stay out of it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

NOT_KEYED = {"keyed": False}


def canonical(value: Any) -> Any:
    """`value` as plain JSON data; equal values give equal data.

    A dataclass becomes a mapping of its class name, its class's `version` (if it has one) and its
    keyed fields. Raises TypeError for anything without an obvious canonical form.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, frozenset | set):
        return sorted(canonical(v) for v in value)
    if isinstance(value, Mapping):
        return {str(k): canonical(v) for k, v in sorted(value.items(), key=lambda kv: str(kv[0]))}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        keyed = {
            f.name: canonical(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if f.metadata.get("keyed", True)
        }
        version = getattr(type(value), "version", None)
        head = {"type": _type_name(type(value))} | ({} if version is None else {"version": version})
        return head | keyed
    raise TypeError(f"no canonical form for {type(value).__name__}")


def _type_name(cls: type) -> str:
    """A class's name; with its module where it is not bench's own, since names may repeat."""
    own = cls.__module__.startswith("bench.")
    return cls.__qualname__ if own else f"{cls.__module__}.{cls.__qualname__}"


def dumps(value: Any) -> str:
    """Canonical JSON text: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(*values: Any) -> str:
    """32 hex digits (128 bits of SHA-256) that name `values`."""
    return hashlib.sha256(dumps(canonical(values)).encode()).hexdigest()[:32]
