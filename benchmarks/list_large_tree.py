"""Measure the first and later starts on a tree of class folders as large as ImageNet's.

    python benchmarks/list_large_tree.py [--files 1281167] [--where DIR]

Each class folder contains hard links to one tiny file, which are faster to make and remove than
files. The tree is removed afterwards. Every start runs in a separate process and measures only
`folder_split` and its manifest, without imports. Names and times of files stay in the system's
cache between the starts; for the last start the stored listing is read from disk again.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES, FOLDERS = 1_281_167, 1000
START = """
import sys, time
from pathlib import Path
from bench.data.classes import Classes
from bench.data.readers.folders import folder_split
root, cache = map(Path, sys.argv[1:])
names = tuple(sorted(path.name for path in root.iterdir()))
classes = Classes(names, names)
begun = time.perf_counter()
split = folder_split("tree", root, classes, cache)
manifest = split.load().manifest
print(time.perf_counter() - begun, split.fingerprint, len(manifest))
"""


def grow(root: Path, files: int) -> None:
    """Make the tree of `FOLDERS` class folders with `files` images in total."""
    from PIL import Image

    for folder in range(FOLDERS):
        here = root / f"n{folder:08d}"
        here.mkdir(parents=True)
        first = here / f"{here.name}_0.png"
        Image.new("RGB", (1, 1), (folder % 256, folder // 256, 0)).save(first)
        for number in range(1, files // FOLDERS + (folder < files % FOLDERS)):
            os.link(first, here / f"{here.name}_{number}.png")


def start(root: Path, cache: Path) -> tuple[float, str, int]:
    """Open the tree in a new process: seconds, fingerprint of the split, number of images."""
    command = [sys.executable, "-c", START, str(root), str(cache)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, fingerprint, count = result.stdout.split()
    return float(seconds), fingerprint, int(count)


def drop(folder: Path) -> None:
    """Drop a folder's files from the system's cache, so that they are read from disk again."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=FILES, help="number of images")
    parser.add_argument("--where", type=Path, default=None, help="folder in which to make the tree")
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="index-benchmark-", dir=options.where))
    try:
        root, cache = place / "tree", place / "cache"
        begun = time.perf_counter()
        grow(root, options.files)
        made = time.perf_counter() - begun
        print(f"{options.files:,} files in {FOLDERS:,} folders, made in {made:.0f} s", flush=True)
        time.sleep(3)  # folders that have just changed would be listed again
        first, fingerprint, count = start(root, cache)
        print(f"first start   {first:8.2f} s", flush=True)
        second, again, _ = start(root, cache)
        print(f"second start  {second:8.2f} s, {first / second:.0f} times as fast", flush=True)
        drop(cache)
        cold, third, _ = start(root, cache)
        print(f"cold listing  {cold:8.2f} s", flush=True)
        assert fingerprint == again == third and count == options.files
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
