"""For tests: the embedded CLIP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass
class Tiny:
    """The embedded CLIP and the prompts of three classes."""

    clip: Any
    prompts: Tensor
