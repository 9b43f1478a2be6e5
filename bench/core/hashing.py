"""Content addresses: a value's canonical form and the hash that names its outputs in the store.

A key is a hash of *what* is computed, never of how or where: fields marked with
``field(metadata=NOT_KEYED)`` (paths, thread counts) stay out of it. A class is named by its `kind`,
which stays when the class is renamed or moved, so that what a cache holds is still found.
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

    A dataclass becomes a mapping of its class's `kind_of`, `version` (if it has one) and keyed
    fields. Raises TypeError for anything without an obvious canonical form.
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
        head = {"type": kind_of(type(value))} | ({} if version is None else {"version": version})
        return head | keyed
    raise TypeError(f"no canonical form for {type(value).__name__}")


def kind_of(cls: type) -> str:
    """The name of a class in keys: its own ``kind: ClassVar[str]``, which is not inherited.

    A class of a plugin has the plugin's top-level module before it, since kinds may repeat there,
    and may do without one: then it is named by its module and class. Raises TypeError for a class
    of bench itself without one.
    """
    kind = cls.__dict__.get("kind")
    package = cls.__module__.partition(".")[0]
    if package == "bench":
        if not isinstance(kind, str):
            raise TypeError(f"{cls.__qualname__} is part of keys: give it `kind: ClassVar[str]`")
        return kind
    return f"{cls.__module__}.{cls.__qualname__}" if kind is None else f"{package}.{kind}"


def canonical_json(value: Any) -> str:
    """Canonical JSON text: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(*values: Any) -> str:
    """32 hex digits (128 bits of SHA-256) that name `values`."""
    return hashlib.sha256(canonical_json(canonical(values)).encode()).hexdigest()[:32]
