"""Content addressing: the canonical form of a value and the hash that is its key in the store.

A key is a hash of *what* is computed, never of how or where. Fields marked with
``field(metadata=NOT_KEYED)`` (paths, thread counts) do not enter it. A class enters it by its
`kind`, which does not change when the class is renamed or moved, so existing caches stay valid.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import Any

NOT_KEYED = {"keyed": False}

KEYED_IF_SET = {"keyed": "if set"}
"""Metadata of a field that enters keys unless it is None, so that older keys stay valid."""


def canonical(value: Any) -> Any:
    """Return `value` as plain JSON data; equal values give equal data.

    A dataclass becomes a mapping with the `kind_of` its class, the class's `version` (if it has
    one) and the keyed fields. A `keyed_version` takes the place of the version where only some
    settings came to give other numbers. Raises TypeError for any value without an obvious
    canonical form.

    Examples
    --------
    >>> from bench.api.recipes import Backbone
    >>> from bench.core.hashing import canonical
    >>> canonical(Backbone("ViT-B-32", "openai", "tag:openai"))
    {'type': 'Backbone', 'model': 'ViT-B-32', 'digest': 'tag:openai'}
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
            if (keyed := f.metadata.get("keyed", True))
            and not (keyed == "if set" and getattr(value, f.name) is None)
        }
        version = getattr(value, "keyed_version", getattr(type(value), "version", None))
        head = {"type": kind_of(type(value))} | ({} if version is None else {"version": version})
        return head | keyed
    raise TypeError(f"no canonical form for {type(value).__name__}")


def kind_of(cls: type) -> str:
    """Return the name of a class in keys: its own ``kind: ClassVar[str]``, which is not inherited.

    For a class of a plugin, the plugin's top-level module is prepended, because two plugins may
    use the same kind. A class without a `kind` is named by its module and class name, so that
    renaming it computes its outputs again; bench's own classes all have one, which a test checks.

    Examples
    --------
    >>> from bench.api.recipes import Backbone
    >>> from bench.core.hashing import kind_of
    >>> kind_of(Backbone)
    'Backbone'
    """
    kind, package = cls.__dict__.get("kind"), cls.__module__.partition(".")[0]
    if kind is None:
        return f"{cls.__module__}.{cls.__qualname__}"
    return str(kind) if package == "bench" else f"{package}.{kind}"


def canonical_json(value: Any) -> str:
    """Return canonical JSON text: sorted keys, no spaces, no NaN.

    Examples
    --------
    >>> from bench.core.hashing import canonical_json
    >>> canonical_json({"b": 1, "a": [1, 2]})
    '{"a":[1,2],"b":1}'
    """
    return _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def key_of(*values: Any) -> str:
    """Return the key of `values`: 32 hex digits, the first 128 bits of their SHA-256.

    Examples
    --------
    >>> from bench.core.hashing import key_of
    >>> key_of("features", 1), key_of("features", 2)
    ('b8578ccb379895d0cda4f37a218a667d', '258d743a0315819ebe31a8a98510f6c7')
    """
    text = ",".join([_text(value) for value in values])
    return hashlib.sha256(f"[{text}]".encode()).hexdigest()[:32]


def _text(value: Any) -> str:
    if type(value) is CanonicalText:
        return value.text
    return canonical_json(value if type(value) is str else canonical(value))


@dataclasses.dataclass(frozen=True)
class CanonicalText:
    """The canonical JSON text of a value. In `key_of` it stands for the value.

    A value that is part of many keys is so brought into its canonical form once.

    Examples
    --------
    >>> from bench.core.hashing import CanonicalText, key_of
    >>> key_of("features", CanonicalText.of(1)) == key_of("features", 1)
    True
    """

    text: str

    @classmethod
    def of(cls, value: Any) -> CanonicalText:
        """Return the text of a value."""
        return cls(_text(value))
