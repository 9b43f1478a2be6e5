"""Write datasets/baselines/imagenet.csv from the ImageNet testbed's table of accuracies.

    git clone https://github.com/modestyachts/imagenet-testbed
    python scripts/assets/testbed_baselines.py imagenet-testbed

Source: Taori et al., Measuring Robustness to Natural Distribution Shifts in Image Classification,
NeurIPS 2020; the repository's licence is MIT. The file has all models of "standard training" and no
others. docs/baselines.md describes how the testbed's evaluation differs from ours. Both source
files are read from `COMMIT`, regardless of what is checked out.
"""

from __future__ import annotations

import argparse
import ast
import csv
import io
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from bench.core.paths import write_atomic

OUT = Path(__file__).parents[2] / "datasets" / "baselines" / "imagenet.csv"
COMMIT = "0170eec658d664289d9f61de8f90f967f49abca0"
SOURCE = f"ImageNet testbed of Taori et al. (NeurIPS 2020), standard training, commit {COMMIT[:7]}"
ACCURACIES, TYPES = "robustness_top1s.csv", "plotting/model_types.py"
COLUMNS = {
    "id": "val",
    "v2": "imagenetv2-matched-frequency-format-val",
    "sketch": "imagenet-sketch",
    "a": "imagenet-a",
    "r": "imagenet-r",
    "objectnet": "objectnet-1.0-beta",
    "vid-robust": "imagenet-vid-robust_pm0",
    "ytbb": "ytbb-robust_pm0",
}
"""The testbed's columns by the evaluation sets of suite `imagenet`."""


def types(source: str) -> Mapping[str, str]:
    """Return {model: its type} from the dictionary `model_types_map`; the file is not executed."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "model_types_map":
            assert isinstance(node.value, ast.Dict)
            pairs = zip(node.value.keys, node.value.values, strict=True)
            return {
                key.value: value.attr
                for key, value in pairs
                if isinstance(key, ast.Constant) and isinstance(value, ast.Attribute)
            }
    raise SystemExit(f"{TYPES}: no model_types_map at commit {COMMIT[:7]}")


def rows(accuracies: str, kinds: Mapping[str, str]) -> Iterator[list[str]]:
    """Yield the lines of our file, best on ID first; values that were not measured are empty."""
    found = {line["model"]: line for line in csv.DictReader(io.StringIO(accuracies))}
    standard = [model for model, kind in kinds.items() if kind == "STANDARD"]
    if missing := [model for model in standard if model not in found]:
        raise SystemExit(f"{ACCURACIES}: no accuracies of {', '.join(missing)}")
    yield ["model", "source", *COLUMNS]
    for model in sorted(standard, key=lambda m: (-float(found[m][COLUMNS["id"]]), m)):
        values = [found[model][column] for column in COLUMNS.values()]
        yield [model, SOURCE, *(f"{float(v):.2f}" if v else "" for v in values)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clone", type=Path, help="folder of a clone of the testbed's repository")
    parser.add_argument("--out", type=Path, default=OUT, help="file to write")
    arguments = parser.parse_args()

    def read(path: str) -> str:
        git = ["git", "-C", str(arguments.clone), "show", f"{COMMIT}:{path}"]
        return subprocess.run(git, check=True, capture_output=True, text=True).stdout

    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows(read(ACCURACIES), types(read(TYPES))))
    write_atomic(arguments.out, out.getvalue().encode())


if __name__ == "__main__":
    main()
