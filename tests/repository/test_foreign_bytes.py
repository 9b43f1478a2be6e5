"""Files that bench did not write are read by `bench.core.foreign` alone, within its budgets."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from places import ROOT

READING = {
    *("json.load", "json.loads", "yaml.load", "yaml.safe_load", "yaml.full_load", "np.load"),
    *("np.fromfile", "np.loadtxt", "np.genfromtxt", "pickle.load", "pickle.loads", "open"),
    *(".read_text", ".read_bytes", ".open", ".model_validate_json", ".validate_json"),
    *("zipfile.ZipFile", "tarfile.open", "torch.load", "torch.jit.load"),
}
"""Calls that read a file, or parse what it holds, without a budget."""

OTHER = {"Image.open", "os.open", "webbrowser.open"}

HOME = "bench/core/foreign/"

OWN = {
    "bench/core/environment.py": "/proc/cpuinfo",
    "bench/core/paths.py": "written, not read",
    "bench/core/store/claims.py": "claims of other processes",
    "bench/core/store/container.py": "the store, whose checksums are compared",
    "bench/core/store/forms.py": "the store; pydantic's JSON reader has limits of its own",
    "bench/core/store/remote.py": "downloads, which are written here and read by the store",
    "bench/core/store/store.py": "the store, whose checksums are compared",
    "bench/core/trainings.py": "lines read within budgets; pydantic's JSON reader has its own",
    "bench/core/records.py": "lines read within budgets; pydantic's JSON reader has its own",
    "bench/core/record_lines/reading.py": "single lines, read within budgets; LineError for all",
    "bench/leaderboard/samples.py": "the store of a run, whose checksums are compared",
    "bench/models/training/checkpoints.py": "the store",
    "bench/models/sources/named.py": "bench's own tiny.json",
    "bench/runs/costs/stopwatch.py": "/proc/self/task",
    "bench/runs/costs/rates.py": "bench's own tiny.json, and rates in the cache",
    "bench/runs/study/imported.py": "descriptions that bench import writes to the cache",
    "bench/runs/study/kept.py": "files that the run's own readers have read",
    "bench/runs/session.py": "files of a run's folder, which bench wrote",
    "bench/report/run_folder.py": "files of a run's folder, which bench wrote",
    "bench/report/formats/pages.py": "bench's own templates",
    "bench/checks/golden.py": "bench's own golden runs",
    "bench/checks/junit.py": "written, not read",
    "bench/checks/differences.py": "files of a run's folder, which bench wrote",
    "bench/runs/results/manifest.py": "files of a run's folder, which bench wrote",
    "bench/runs/results/replacing.py": "files of a run's folder, which bench wrote",
    "bench/data/cards.py": "bench's own cards",
    "bench/data/mini/model.py": "bench's own weights",
    "bench/leaderboard/published/tables.py": "bench's own tables",
    "datasets/entity30.py": "bench's own table",
    "datasets/domains.py": "bench's own table",
    "bench/cli/results/compare.py": "an archive that Git makes of the user's own repository",
}
"""Files that use one of these calls for other bytes, and for which."""

WITHIN = {
    "bench/data/readers/npy.py": "zip members after check_zip, headers within HEADER",
    "bench/data/readers/webdataset.py": "a tar through TarBlocks",
    "bench/data/download/archives.py": "a tar through TarBlocks, a zip after check_zip",
    "bench/data/download/unpack.py": "members of checked archives",
    "bench/data/download/fetch.py": "bounded responses, the state beside a download",
    "bench/models/files/containers.py": "archives after check_zip, pickles after check_opcodes",
    "bench/models/wise_ft_checkpoints.py": "archives after check_zip, pickles after check_opcodes",
}
"""Readers that call a library on what `bench.core.foreign` has checked."""


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """The names of the functions that a file calls: ``json.loads``, ``.read_text``."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            yield name, node
            if isinstance(node.func, ast.Attribute) and name not in OTHER:
                yield f".{node.func.attr}", node


def sources(*folders: str) -> Iterator[tuple[str, Path]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT).as_posix()
            linked = inside.startswith(("bench/methods/", "bench/datasets/", "bench/testing/"))
            if not linked:
                yield inside, path


def test_foreign_bytes_are_read_in_one_place() -> None:
    found: dict[str, set[str]] = {}
    for inside, path in sources("bench", "methods", "datasets"):
        names = {name for name, _ in calls(path)} & READING
        if names and not inside.startswith(HOME):
            found[inside] = names
    known = OWN.keys() | WITHIN.keys()
    assert {inside: names for inside, names in found.items() if inside not in known} == {}
    assert known - found.keys() == set(), "these files need no exemption any more"


def test_every_image_is_opened_as_one_of_the_named_formats() -> None:
    unnamed = [
        (inside, call.lineno)
        for inside, path in sources("bench", "methods", "datasets", "scripts", "benchmarks")
        for name, call in calls(path)
        if name.endswith("Image.open") and "formats" not in {one.arg for one in call.keywords}
    ]
    assert unnamed == []
