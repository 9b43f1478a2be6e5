"""``SUITE+corruptions``: its name, shifts and columns; and severities on rendered images."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from commands import assert_refused, bench
from PIL import Image

from bench.api.dataset import Suite
from bench.api.registry import find_dataset
from bench.core.errors import InputError
from bench.core.records import MissingCell, Record, read_records
from bench.data.suites.corruptions import SEVERITIES, corrupt, parse_corruptions, with_corruptions
from bench.data.suites.distortions import DISTORTIONS
from bench.leaderboard.build import build_boards
from bench.leaderboard.severities import merge_severities
from bench.report.document import MERGED, document
from bench.report.formats.text import report_markdown
from bench.report.tables.terminal import terminal_table
from bench.runs.study.resolve import find_suites

PAPER = (
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)


# Severities


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Image.Image]:
    """Rendered images of 32 pixels: test images of micro."""
    suite = find_dataset("micro")().suite(None, tmp_path_factory.mktemp("cache"))
    images = suite.test.load().images
    return [images[i] for i in range(0, len(images), len(images) // 120)]


UNGRADED = {
    "glass_blur": {32, 96},  # more blur hides the moved pixels
    "frost": {32, 96, 224},  # the image fades as the pane thickens
    "fog": {96, 224},  # similar from severity 2 on, with differences between images
    "elastic_transform": {32, 96, 224},  # from moving the whole image to moving details
}
"""Image sides where the authors' constants do not increase the distance at each severity."""
ALIKE = 0.98
"""motion_blur-3 and -4 have the same kernel at 32 pixels, except for its angle."""


@pytest.mark.parametrize(("side", "count"), [(32, 120), (96, 16), (224, 8)])
@pytest.mark.parametrize("kind", PAPER)
def test_the_distance_grows_with_severity(
    pictures: list[Image.Image], kind: str, side: int, count: int
) -> None:
    images = [p.resize((side, side), Image.Resampling.BICUBIC) for p in pictures[:count]]
    clean = np.stack([np.asarray(image, dtype=float) for image in images])
    distances = []
    for severity in SEVERITIES:
        found = [np.asarray(corrupt(im, kind, severity, 0, str(i))) for i, im in enumerate(images)]
        assert {array.dtype for array in found} == {np.dtype(np.uint8)}
        distances.append(float(np.sqrt(((found - clean) ** 2).mean(axis=(1, 2, 3))).mean()))
    assert min(distances) > 1
    if side not in UNGRADED.get(kind, ()):
        assert all(b > ALIKE * a for a, b in pairwise(distances))
        assert distances[-1] > 1.15 * distances[0]
    elif kind in ("fog", "frost"):
        assert distances[-1] > 1.05 * distances[0]


def test_other_processes_in_another_order_make_the_same_images(
    pictures: list[Image.Image],
) -> None:
    tasks = [(pictures[i], kind, 3, 0, str(i)) for kind in PAPER for i in range(3)]
    here = [corrupt(*task).tobytes() for task in tasks]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as processes:
        there = [image.tobytes() for image in processes.map(corrupt, *zip(*tasks[::-1]))]  # noqa: B905
    assert there[::-1] == here


# Suites


@cache
def micro() -> Suite:
    return find_dataset("micro")().suite(None, Path("unused"))


def test_all_kinds_of_the_paper_are_there_in_its_order() -> None:
    assert tuple(DISTORTIONS) == PAPER


def test_the_shifts_are_the_corruptions_alone_and_the_task_is_the_suites() -> None:
    suite = with_corruptions(micro(), SEVERITIES)
    assert suite.name == "micro+corruptions"
    names = [f"{kind}-{severity}" for kind in PAPER for severity in SEVERITIES]
    assert [shift.name for shift in suite.shifts] == names == list(suite.all_shifts)
    assert (suite.task, suite.test) == (micro().task, micro().test)
    assert len({shift.split.fingerprint for shift in suite.shifts}) == 75
    assert not suite.curves


def test_a_severity_of_a_suite_is_the_same_images_as_in_the_whole() -> None:
    whole, part = (with_corruptions(micro(), given) for given in (SEVERITIES, (3,)))
    assert part.name == "micro+corruptions=3"
    assert [shift.name for shift in part.shifts] == [f"{kind}-3" for kind in PAPER]
    marks = {shift.name: shift.split.fingerprint for shift in whole.shifts}
    assert all(marks[shift.name] == shift.split.fingerprint for shift in part.shifts)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("mini", ("mini", ())),
        ("mini+corruptions", ("mini", SEVERITIES)),
        ("a/b.yaml+corruptions=5", ("a/b.yaml", (5,))),
        ("mini+corruptions3", ("mini+corruptions3", ())),
        ("+corruptions", ("+corruptions", ())),
    ],
)
def test_names(name: str, found: tuple[str, tuple[int, ...]]) -> None:
    assert parse_corruptions(name) == found


@pytest.mark.parametrize("severity", ["6", "0", "", "3,4", "-1", "x", "03"])
def test_severities_there_are_not(severity: str) -> None:
    with pytest.raises(InputError, match=r"severity must be 1, 2, 3, 4 or 5, got '.*'"):
        parse_corruptions(f"mini+corruptions={severity}")


def test_once_is_enough(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown suite 'micro\\+corruptions"):
        find_suites("micro+corruptions=3+corruptions", None, tmp_path)


def test_available_suites_can_be_corrupted(tmp_path: Path) -> None:
    names = [suite.name for suite in find_suites("available+corruptions=2", None, tmp_path)]
    assert "mini+corruptions=2" in names
    assert all(name.endswith("+corruptions=2") for name in names)


# Columns


def cell(shift: str, order: int, value: float, **more: object) -> Record:
    place = {
        "suite": "micro+corruptions", "model": "tiny/embedded", "method": "vrf", "base": "e2e-ft",
        "title": "VRF", "seed": 0, "shift": shift, "order": order, "shifts_in_suite": 75,
        "metric": "top1", "value": value, "n": 20, "weight": value,
    }  # fmt: skip
    return Record.model_validate(place | more)


def whole(**more: object) -> list[Record]:
    """Return a row on all 75 shifts; corruption k at severity s has (k + s / 10) / 100."""
    cells = [cell("id", 0, 0.9, **more)]
    for k, kind in enumerate(PAPER):
        for s in SEVERITIES:
            cells.append(cell(f"{kind}-{s}", 5 * k + s, (k + s / 10) / 100, **more))
    return cells


def test_severities_become_one_column_and_the_mean_stays() -> None:
    (plain,), (board,) = build_boards(whole()), build_boards(merge_severities(whole())[0])
    assert len(plain.columns) == 77
    assert board.columns == ("ID", *PAPER, "OOD mean")
    assert not board.partial
    values = [c.mean for c in board.rows[0].cells]
    assert values == pytest.approx([0.9, *((k + 0.3) / 100 for k in range(15)), 0.073])
    assert values[-1] == pytest.approx(plain.rows[0].cells[-1].mean)
    (fog,) = [r for r in merge_severities(whole())[0] if r.shift == "fog"]
    assert (fog.n, fog.weight) == (100, pytest.approx(fog.value))


def test_a_corruption_lacks_what_a_severity_lacks() -> None:
    cells = whole()
    lost = cells.pop(cells.index(next(c for c in cells if c.shift == "fog-3")))
    gone = MissingCell.model_validate(
        lost.model_dump(include=set(MissingCell.model_fields)) | {"reason": "no memory"}
    )
    (board,) = build_boards(*merge_severities(cells, [gone]))
    row = dict(zip(board.columns, board.rows[0].cells, strict=True))
    assert row["fog"].absent == ((0, "no memory"),)
    assert row["snow"].mean is not None
    assert row["OOD mean"].mean is None


def test_parts_and_other_suites_are_shown_as_they_are() -> None:
    part = [c for c in whole() if c.shift in ("id", "fog-1", "fog-2")]
    assert merge_severities(part) == (part, [])
    for name in ("mini", "micro+corruptions=3"):
        others = whole(suite=name)
        assert merge_severities(others) == (others, [])


def test_rows_that_contradict_each_other_are_refused() -> None:
    other = cell("fog-3", 48, 0.5)
    with pytest.raises(InputError, match=r"two values of top1 for vrf:e2e-ft .*fog-3"):
        merge_severities([*whole(), other])
    assert len(merge_severities([*whole(), *whole()])[0]) == 17  # ID twice, as it came
    close = [one.model_copy(update={"value": one.value + 1e-9}) for one in whole()]
    assert len(merge_severities([*whole(), *close])[0]) == 17


def test_candidates_of_curves_are_merged_one_by_one() -> None:
    points = [r for a in (0.1, 0.2) for r in whole(kind="curve", choice={"alpha": a})]
    found = [
        r
        for r in merge_severities([*whole(), *points])[0]
        if r.kind == "curve" and r.shift == "fog"
    ]
    assert [r.choice for r in found] == [{"alpha": 0.1}, {"alpha": 0.2}]


def test_reports_say_what_the_columns_are() -> None:
    text = report_markdown(document(whole()))
    assert MERGED in text
    assert "fog-3" not in text
    assert MERGED not in report_markdown(document(whole(suite="mini")))


def test_a_narrow_terminal_shows_the_ends_and_says_so() -> None:
    (board,) = build_boards(merge_severities(whole())[0])
    _, table, caption = terminal_table(board, 60).renderables
    assert [str(c.header) for c in table.columns] == ["Method", "ID", "OOD mean"]
    assert "15 columns do not fit" in str(caption)
    assert len(terminal_table(board, 160).renderables[1].columns) == 18


# The command line


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("places")
def test_the_command_line_runs_a_severity() -> None:
    command = ("run", "--suite", "micro+corruptions=3", "--methods", "zero-shot", "--limit", "20")
    result = bench(*command, "--out", "out")
    assert result.code == 0, result.err
    records = read_records(Path("out/records.jsonl"))
    found = {r.shift for r in records if r.metric == "top1" and r.kind == "cell"}
    assert found == {"id", *(f"{kind}-3" for kind in PAPER)}
    assert {r.suite for r in records} == {"micro+corruptions=3"}
    assert {r.n for r in records if r.kind == "cell"} == {20}


@pytest.mark.usefixtures("places")
def test_the_whole_is_planned_without_curves_and_the_training_is_that_of_the_suite() -> None:
    both = "micro,micro+corruptions"
    result = bench("plan", "--suite", both, "--methods", "wise-ft", "--limit", "20", "--json")
    plain, corrupted = json.loads(result.out)["studies"]
    assert corrupted["suite"] == "micro+corruptions"
    shifts = {split["split"] for split in corrupted["splits"]}
    assert len([name for name in shifts if name.rpartition("/")[2][-2:] in "-1-2-3-4-5"]) == 75
    assert plain["trainings"] == 1


@pytest.mark.usefixtures("places")
def test_the_command_line_refuses() -> None:
    assert_refused(bench("run", "--suite", "mini+corruptions=6"), "mini+corruptions=6", "1, 2, 3")
    assert_refused(bench("show", "mini+corruptions=6"), "mini+corruptions=6")
    shifts = ("--shifts", "fog-6")
    assert_refused(bench("run", "--suite", "micro+corruptions", *shifts), "did you mean 'fog-")


def test_the_card_lists_the_corruptions() -> None:
    shown = json.loads(bench("show", "mini+corruptions=4", "--json").out)
    assert list(shown["shifts"]) == [f"{kind}-4" for kind in PAPER]
    assert "fog-1..5" in bench("show", "mini+corruptions").out
