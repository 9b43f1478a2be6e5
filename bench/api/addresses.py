"""The store keys of weights and features: what exactly each stored output depends on."""

from __future__ import annotations

from functools import lru_cache

from bench.api.recipes import Encoder, External, Fisher, Imported, TextHead, Tuned
from bench.core.hashing import key_of

PREPROCESS = 1
"""Version of the image pipeline (decode, resize, crop, normalise); raised when pixels change."""


@lru_cache(maxsize=100_000)
def weights_key(recipe: TextHead | Tuned | Imported | External | Fisher) -> str:
    """Key of a head's, a tuned or imported classifier's weights, or of their Fisher information."""
    is_read = isinstance(recipe, TextHead | Imported)
    return key_of("weights", recipe, 0 if is_read else PREPROCESS)


@lru_cache(maxsize=100_000)
def features_key(encoder: Encoder, fingerprint: str, precision: str) -> str:
    """Key of an encoder's features on the split with that fingerprint."""
    return key_of("features", encoder, fingerprint, precision, PREPROCESS)
