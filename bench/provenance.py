"""What a number was made with: versions, commit and hardware; torch is not imported for it."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import bench

PACKAGES = ("torch", "torchvision", "open_clip_torch", "numpy", "faiss-gpu", "faiss-cpu", "pillow")


@cache
def environment() -> dict[str, object]:
    """Versions, the commit of bench's checkout (None if it is none) and the machine."""
    versions = {"bench": bench.__version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    hardware = {"machine": platform.machine(), "cpus": os.cpu_count()}
    return {"versions": versions, "commit": _commit(), "hardware": hardware}


def _commit() -> str | None:
    root = Path(bench.__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}-modified" if changed else head
