"""Measure `bench plan` for all methods, controls, shifts and 5 seeds of `mini`, 40,000 cells.

    python benchmarks/plans.py [--repeats 3]

Printed are CPU seconds and peak memory of the command, those of a plan of one row, which are mostly
imports, and for comparison the CPU seconds of hashing as many texts of 1,000 characters as there
are cells.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile

from measuring import cpu_seconds, usage

ALL = ("--methods", "all", "--controls", "--seeds", "0,1,2,3,4")
ONE = ("--methods", "zero-shot")


def main() -> None:
    """Print what both plans cost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    of = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        common = ("--suite", "mini", "--shifts", "all", "--cache-dir", cache, "--json")
        commands = [[sys.executable, "-m", "bench", "plan", *own, *common] for own in (ALL, ONE)]
        found = subprocess.run(commands[0], capture_output=True, check=True).stdout
        cells = sum(study["cells"] for study in json.loads(found)["studies"])
        whole, start = (usage(command, of.repeats) for command in commands)
    texts = [f"{number:01000}".encode() for number in range(cells)]
    hashes = cpu_seconds(lambda: [hashlib.sha256(text).hexdigest() for text in texts], of.repeats)
    print(f"{cells:,} cells: {whole.seconds:.2f} CPU s, {whole.peak / 1e6:.0f} MB at the peak")
    print(f"one row: {start.seconds:.2f} CPU s; {cells:,} hashes: {hashes:.2f} CPU s")


if __name__ == "__main__":
    main()
