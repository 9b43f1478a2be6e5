"""The environment of a run: package versions, commit, hardware and process rank.

Nothing here imports torch.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, entry_points, version
from pathlib import Path

from bench.core import __version__
from bench.core.errors import InputError, shortened

PACKAGES = (
    "torch", "torchvision", "open_clip_torch", "numpy", "scipy", "faiss-gpu", "faiss-cpu", "pillow"
)  # fmt: skip


@cache
def environment() -> dict[str, object]:
    """Return the versions, the commit and the hardware that records store.

    Versions include those of all installed plugin packages, as their import may change anything,
    whether or not a row uses one. The commit is that of bench's git checkout, with
    ``-modified`` appended if tracked files were changed; None without a checkout. The processor
    model is included because the choice of kernels, and with it the last bits of a result, depends
    on it.

    Examples
    --------
    >>> import bench
    >>> from bench.core.environment import environment
    >>> sorted(environment()), environment()["versions"]["bench"] == bench.__version__
    (['commit', 'hardware', 'versions'], True)
    """
    versions = {"bench": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    for group in ("bench.methods", "bench.datasets"):
        for point in entry_points(group=group):
            if point.dist is not None:
                versions[point.dist.name] = point.dist.version
    return {"versions": versions, "commit": _commit(), "hardware": processor()}


def processor() -> dict[str, object]:
    """Return the kind of machine, the number of its processors and, if it is known, their model.

    Examples
    --------
    >>> from bench.core.environment import processor
    >>> processor().keys() >= {"machine", "cpus"}
    True
    """
    found: dict[str, object] = {"machine": platform.machine(), "cpus": os.cpu_count()}
    return found | ({"cpu": model} if (model := _cpu()) else {})


def _cpu(info: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor model from `info`, or from `platform` where `info` is absent."""
    try:
        lines = info.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
    return " ".join(next(names, platform.processor()).split())


def _commit() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    git = ["git", "-C", str(root)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout.strip()  # fmt: skip
        new = subprocess.run(
            [*git, "ls-files", "--others", "--exclude-standard", "bench", "methods", "datasets"],
            capture_output=True, text=True, check=True, timeout=60,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{head}-modified" if changed or new else head


def core_count() -> int:
    """Return the number of processor cores that this process may use.

    Examples
    --------
    >>> from bench.core.environment import core_count
    >>> core_count() >= 1
    True
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def process_count() -> int:
    """Return the number of processes that run this command together; 1 without a launcher.

    Examples
    --------
    >>> from bench.core.environment import process_count
    >>> process_count()
    1
    """
    return _launch()[0]


def is_first_process() -> bool:
    """Whether this is the process (rank 0) that writes files and prints.

    Examples
    --------
    >>> from bench.core.environment import is_first_process
    >>> is_first_process()
    True
    """
    return _launch()[1] == 0


def end_with_parent(number: int = 0) -> None:
    """Have this process end when the one that started it does, also if that has ended already.

    For processes of `multiprocessing`, as torch's `worker_init_fn`, too, which gives each its
    `number`. torch looks for the end of a parent as well, but for ever for one that was killed
    before it began to look.

    Examples
    --------
    >>> from bench.core.environment import end_with_parent
    >>> end_with_parent()  # in a process that multiprocessing did not start, it does nothing
    """
    import multiprocessing
    import threading
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def end(sentinel: int) -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=end, args=(parent.sentinel,), daemon=True).start()


LAUNCHED = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What a launcher of several processes sets besides ``WORLD_SIZE``."""


def _launch() -> tuple[int, int]:
    """Return the number of processes and the rank of this one, as a launcher set them.

    Raises InputError for values that would end in the middle of a run, or make it wait for ever.
    """
    count = _set("WORLD_SIZE", 1, range(1, 2**20))
    if count > 1 and (absent := [name for name in LAUNCHED if not os.environ.get(name)]):
        raise InputError(
            f"WORLD_SIZE={count} in the environment, but {absent[0]} is not set: start bench with "
            "torchrun or accelerate launch, or unset WORLD_SIZE for one process"
        )
    _set("LOCAL_RANK", 0, range(-1, count))
    _set("MASTER_PORT", 0, range(2**16))
    return count, _set("RANK", 0, range(count))


def _set(name: str, default: int, valid: range) -> int:
    """Return a whole number of the environment. Raises InputError if it is none of `valid`."""
    text = os.environ.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"-?[0-9]{1,9}", text) or int(text) not in valid:
        raise InputError(
            f"{name}={shortened(text, 40)!r} in the environment: expected a whole number from "
            f"{valid[0]} to {valid[-1]}, as torchrun sets it; unset it for one process"
        )
    return int(text)
