"""Which process this is, of those that ``accelerate launch`` or ``torchrun`` started."""

from __future__ import annotations

import os


def process_count() -> int:
    """How many processes run this command together; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first_process() -> bool:
    """Whether this process writes and speaks."""
    return os.environ.get("RANK", "0") == "0"
