"""Damage of each kind to a stored file of each kind, and then the same command again."""

from __future__ import annotations

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path

from stress_attacks.case import Place, Tally, compared, leftovers, same_or_said

KINDS = (
    *("renders", "weights", "trainings", "models", "features", "distances", "fits", "samples"),
    *("sets", "cells", "rates"),
)
ABOVE = {
    "renders": ("features", "distances", "fits", "samples", "sets", "cells"),
    "weights": ("features", "distances", "fits", "samples", "sets", "cells"),
    "features": ("distances", "fits", "samples", "sets", "cells"),
    "distances": ("fits", "samples", "sets", "cells"),
    "fits": ("samples", "sets", "cells"),
}
"""What is removed, so that the damaged file must be read."""


def _flip(path: Path, _: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def _truncate(path: Path, _: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])


def _swap(path: Path, other: Path) -> None:
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


def _folder(path: Path, _: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path, Path], object]] = {
    "flip": _flip,
    "truncate": _truncate,
    "empty": lambda path, _: path.write_bytes(b""),
    "other": lambda path, other: path.write_bytes(other.read_bytes()),
    "swap": _swap,
    "folder": _folder,
    "unreadable": lambda path, _: path.chmod(0),
}


def corruption(
    folder: Path, done: Place, expected: dict[str, bytes], kinds: tuple[str, ...] = KINDS
) -> Tally:
    """Damage files of a finished run; `done` has its cache. The run folder is written anew."""
    tally = Tally("corruption of the store")
    for kind in kinds:
        if not _files(done.cache / kind):  # rates, say: a machine may be too slow to measure any
            tally.title += f" (it has no {kind})"
            continue
        for name, damage in DAMAGES.items():
            for place_of in (0, -1):  # of a kind's files, the first and the last
                place = Place(folder / f"{kind}-{name}")
                shutil.copytree(done.cache, place.cache)
                for above in ABOVE.get(kind, ()):
                    shutil.rmtree(place.cache / above)
                files = _files(place.cache / kind)
                damage(files[place_of], files[(place_of - 1) % len(files)])
                said = place.run()
                fault = same_or_said(place, expected, said)
                left = leftovers(place.cache) if said[0] == 0 else ""
                tally.add(f"{name} {kind} {place_of}", fault, left)
                shutil.rmtree(place.root)
    return tally


def damaged_runs(folder: Path, done: Place, expected: dict[str, bytes]) -> Tally:
    """Damage each file of a finished run's own folder, and run the same command again."""
    tally = Tally("corruption of a run's folder")
    for name in sorted(expected):
        for damage in ("flip", "truncate", "empty"):
            place = Place(folder / "folder")
            shutil.copytree(done.root, place.root)
            DAMAGES[damage](place.out / name, place.out / name)
            said = place.run()
            fault = compared(place.out, expected, said)
            if name == "config.json" and said[0] == 2 and "--overwrite" in said[1]:
                fault = ""  # it cannot be told what run that was: the user is asked
            tally.add(f"{damage} {name}", fault, leftovers(place.out))
            shutil.rmtree(place.root)
    return tally


def _files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file()]


def obey_permissions() -> None:
    """Have the programs that this one starts obey permissions, also as root (Linux)."""
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
