"""Shipped baselines: their sources, which figures show them, and how those of mini are computed."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import mini_baselines
import pytest
import testbed_baselines
from browser import opened
from imagenet_rows import IMAGENET, on_request, rows, scatter
from places import ROOT

from bench.api.registry import find_dataset
from bench.data.mini import render
from bench.leaderboard.published import baselines
from bench.leaderboard.published.baselines import Baseline
from bench.report.figures.spec import Chart
from bench.report.write import document, write_report

DOCS, FOLDER = ROOT / "docs", ROOT / "datasets" / "baselines"
MINI = {name: size for name, size in render.SPLITS.items() if name not in ("train", "val")}
MINI = {"id": MINI.pop("test")} | MINI
SHIFTS = tuple(IMAGENET)[1:]
NO_LINE = "No line for effective robustness"


def crosses(figure: Chart) -> list[dict[str, Any]]:
    assert figure.spec is not None
    return figure.spec["datasets"]["baselines"] if "baselines" in on_request(figure) else []


def test_those_of_imagenet_are_the_testbeds_models_of_standard_training() -> None:
    found = baselines.shipped_baselines("imagenet")
    assert len(found) == 87
    resnet = next(b.values for b in found if b.model == "resnet50")
    known = {"id": 76.13, "v2": 63.21, "sketch": 24.09, "a": 0, "r": 36.17, "objectnet": 35.75}
    assert resnet == pytest.approx(
        {k: v / 100 for k, v in (known | {"vid-robust": 67.54, "ytbb": 57.04}).items()}
    )
    lacking = {b.model for b in found if not b.covers(SHIFTS)}
    assert lacking == {f"resnet50-vtab{s}" for s in ("", *LIKE_VTAB)}
    assert all(b.covers(set(testbed_baselines.COLUMNS) - {"id", "r"}) for b in found)


LIKE_VTAB = ("-exemplar", "-rotation", "-semi-exemplar", "-semi-rotation")


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("imagenet", "b5387ce511ad84476459b64cf25daed0e5cec23d735ea336c7049dafea6694ea"),
        ("mini", "6c11fd233233c7bb32b0da5529c53d76a2bbceb026475da163322a0c2d21cc1c"),
    ],
)
def test_a_file_is_as_its_script_wrote_it(name: str, digest: str) -> None:
    found = hashlib.sha256((FOLDER / f"{name}.csv").read_bytes()).hexdigest()
    assert found == digest, (
        f"run scripts/assets/{'testbed' if name == 'imagenet' else name}_baselines.py"
    )


def test_the_testbeds_table_is_read_by_type_of_training() -> None:
    kinds = testbed_baselines.types(
        "class T: pass\n"
        "model_types_map = {'a': T.STANDARD, 'b': T.MORE_DATA, 'c': T.STANDARD}\n"
        "model_types_map['d'] = T.STANDARD\n"
    )
    columns = list(testbed_baselines.COLUMNS.values())
    lines = [["model", *columns, "other"], ["a", *"12345678", "9"], ["b", *"12345678", "9"]]
    lines.append(["c", "50.125000001", *[""] * 7, "9"])
    head, *found = testbed_baselines.rows("\n".join(map(",".join, lines)), kinds)
    assert head == ["model", "source", "id", *SHIFTS, "vid-robust", "ytbb"]
    assert [line[0] for line in found] == ["c", "a"]
    assert found[0][2:] == ["50.13", *[""] * 7]
    assert found[1][2:] == [f"{i}.00" for i in range(1, 9)]


def test_every_model_of_mini_is_there_with_its_source() -> None:
    found = baselines.shipped_baselines("mini")
    assert [b.model for b in found] == [model.name for model in mini_baselines.MODELS]
    assert all(b.values.keys() == MINI.keys() for b in found)
    (source,) = {b.source for b in found}
    assert re.match(
        r"trained from scratch on mini by scripts/(\w+/)?mini_baselines\.py at ", source
    )


@pytest.mark.parametrize("kind", ["convolutions", "ConvNeXt"])
def test_a_small_model_is_trained_and_measured_on_every_set(kind: str, tmp_path: Path) -> None:
    suite = find_dataset("micro")().suite(None, tmp_path)
    width = {"convolutions": 4, "ConvNeXt": 96}[kind]
    model = mini_baselines.Model(kind, width, 0.5, 2)
    found = mini_baselines.accuracies(mini_baselines.trained(model, suite, 0), suite)
    assert found.keys() == MINI.keys()
    assert mini_baselines.accuracies(mini_baselines.trained(model, suite, 0), suite) == found


@pytest.mark.parametrize("name", ["micro", "s", "../baselines/mini", ""])
def test_most_suites_have_none(name: str) -> None:
    assert baselines.shipped_baselines(name) == ()


@pytest.mark.parametrize(
    ("suite", "sizes", "count", "source"),
    [
        ("imagenet", IMAGENET, 82, "ImageNet testbed of Taori et al. (NeurIPS 2020)"),
        ("imagenet", {k: IMAGENET[k] for k in ("id", "v2", "a")}, 87, "standard training"),
        ("mini", MINI, 11, "trained from scratch on mini"),
    ],
)
def test_a_suites_own_baselines_are_drawn_with_their_line_and_source(
    suite: str, sizes: Mapping[str, int], count: int, source: str
) -> None:
    figure = scatter(rows(suite, sizes))
    assert f"Crosses are {count} baselines (" in figure.caption
    assert source in figure.caption and NO_LINE not in figure.caption
    shifts = [shift for shift in sizes if shift != "id"]
    used = [b for b in baselines.shipped_baselines(suite) if b.covers(shifts)]
    pairs = [(b.values["id"], fmean(b.values[s] for s in shifts)) for b in used]
    assert [(p["id"], p["ood"]) for p in crosses(figure)] == pairs
    line = baselines.fit_line(pairs)
    assert line is not None and figure.table is not None and figure.spec is not None
    assert f"{line.slope:.2f} logit(ID) {line.offset:+.2f}, R² = {line.r2:.2f}" in figure.table.note
    drawn = figure.spec["datasets"]["line"]
    assert "line" in on_request(figure)
    assert [end["y"] for end in drawn] == pytest.approx(
        [line.at(end["x"]) for end in drawn], abs=1e-4
    )


@pytest.mark.parametrize(
    ("suite", "sizes", "more"),
    [
        ("imagenet", IMAGENET, {"notes": ("synthetic data",)}),
        ("imagenet", IMAGENET, {"notes": ("limit=200",)}),
        ("imagenet", IMAGENET | {"id": 49_999}, {}),  # another ID set of that name
        ("imagenet", IMAGENET | {"a": 7_000}, {}),
        ("imagenet", IMAGENET | {"mine": 100}, {}),
        ("imagenet", IMAGENET, {"metric": "worst-region", "primary_metric": "worst-region"}),
        ("mini", MINI | {"id": 200}, {}),
    ],
)
def test_they_are_not_drawn_beside_rows_on_other_data(
    suite: str, sizes: Mapping[str, int], more: Mapping[str, Any]
) -> None:
    records = [r.model_copy(update=more) for r in rows(suite, sizes) if r.metric == "top1"]
    figure = scatter(records)
    assert crosses(figure) == []
    assert f"{NO_LINE}: the baselines shipped with bench are" in figure.caption
    given = [Baseline("mine", "me", dict.fromkeys(sizes, at)) for at in (0.2, 0.3, 0.4)]
    given = [Baseline(f"mine {at}", "me", b.values) for at, b in enumerate(given)]
    assert [p["row"] for p in crosses(scatter(records, given))] == ["mine 0", "mine 1", "mine 2"]


def test_given_ones_stand_beside_shipped_ones_and_replace_those_of_their_name() -> None:
    own = [
        Baseline("resnet50", "measured anew", dict.fromkeys(IMAGENET, 0.4)),
        Baseline("mine", "me", dict.fromkeys(IMAGENET, 0.3)),
        Baseline("elsewhere", "me", {"id": 0.3, "v2": 0.2}),
    ]
    figure = scatter(rows("imagenet", IMAGENET), own)
    found = [(p["row"], p["source"]) for p in crosses(figure)]
    assert len(found) == 83 and "Crosses are 83 baselines (" in figure.caption
    assert [s for m, s in found if m == "resnet50"] == ["measured anew"]
    assert ("mine", "me") in found and ("elsewhere", "me") not in found
    assert "; me; measured anew)" in figure.caption
    assert "no supplied baseline has values for ID and all of these shifts" in (
        scatter(rows("s", IMAGENET), own[2:]).caption
    )


def test_the_numbers_of_the_figure_have_the_baselines_too() -> None:
    figure = scatter(rows("mini", MINI))
    assert figure.table is not None
    texts = [[item.text for item in line.items] for line in figure.table.groups[-1]]
    assert texts[0] == ["Baselines"]
    assert [line[0] for line in texts[1:]] == [model.name for model in mini_baselines.MODELS]
    above = [float(line[-1]) for line in texts[1:]]
    assert min(above) < 0 < max(above)


def test_a_perfect_line_explains_all_and_a_flat_one_is_a_line() -> None:
    def at(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    line = baselines.fit_line([(at(x), at(0.8 * x - 0.5)) for x in (-1.0, 0.2, 1.3)])
    assert line is not None and line.r2 == pytest.approx(1)
    noisy = baselines.fit_line([(at(x), at(y)) for x, y in ((0, 0), (1, 1), (2, 0))])
    assert noisy is not None and (noisy.slope, noisy.r2) == pytest.approx((0, 0), abs=1e-9)


def r2(suite: str, shifts: Sequence[str]) -> str:
    found = [
        b.values
        for b in baselines.shipped_baselines(suite)
        if b.covers(SHIFTS if suite != "mini" else ())
    ]
    line = baselines.fit_line([(v["id"], fmean(v[s] for s in shifts)) for v in found])
    assert line is not None
    return f"{line.r2:.2f}"


def test_the_documents_say_how_well_the_lines_fit() -> None:
    shifts = [shift for shift in MINI if shift != "id"]
    said = " ".join((DOCS / "mini.md").read_text().split())
    assert f"an R² of {r2('mini', shifts)} and `v2` with {r2('mini', ['v2'])}" in said
    assert f"`rendition` with {r2('mini', ['rendition'])} only" in said
    values = [b.values for b in baselines.shipped_baselines("mini")]
    ends = [
        f"{100 * of(one):.1f}"
        for one in (lambda v: v["id"], lambda v: fmean(v[s] for s in shifts))
        for of in (lambda f: min(map(f, values)), lambda f: max(map(f, values)))
    ]
    assert "{} to {} on ID and {} to {} as the OOD mean".format(*ends) in said
    said = " ".join((DOCS / "baselines.md").read_text().split())
    assert f"(R² {r2('imagenet', ['a'])}; OOD mean {r2('imagenet', SHIFTS)})" in said


def test_on_some_of_the_shifts_the_page_moves_baselines_and_fits_them_again(
    tmp_path: Path,
) -> None:
    write_report(tmp_path, rows("mini", MINI), formats=("html",))
    kept = ("v2", "rendition")
    layers_of = """() => {
      const { spec } = benchReport.drawings.find((d) => d.figure.dataset.figure === "id-ood");
      return spec.layer.map((l) => [l.name, spec.datasets[l.name], l.encoding?.tooltip]);
    }"""
    with opened(tmp_path / "report.html") as page:
        for shift in MINI.keys() - {"id", *kept}:
            page.get_by_label(f"{shift} counts in the mean").uncheck()
        bare = page.evaluate(layers_of)
        page.get_by_role("checkbox", name="Baselines").check()
        layers = page.evaluate(layers_of)
    found = {name: values for name, values, _ in layers}
    used = baselines.shipped_baselines("mini")
    pairs = [(b.values["id"], fmean(b.values[s] for s in kept)) for b in used]
    assert [(p["id"], p["ood"]) for p in found["baselines"]] == pairs
    line = baselines.fit_line(pairs)
    assert line is not None
    wanted = [line.at(end["x"]) for end in found["line"]]
    assert [end["y"] for end in found["line"]] == pytest.approx(wanted, abs=1e-3)
    tips = {tip["field"]: tip.get("title") for _, _, shown in layers for tip in shown or ()}
    assert tips["OOD mean"] == "mean of 2"
    assert {name for name, _, _ in layers} - {name for name, _, _ in bare} == {"baselines", "line"}


def test_given_baselines_that_lack_a_shift_are_said_to_be_left_out() -> None:
    records = rows("mine", {"id": 100, "v2": 100, "sketch": 100})
    board = document(records).chapters[0].numbers.board
    whole = {"id": 0.5} | dict.fromkeys(board.over, 0.4)
    given = [Baseline(f"m{k}", "mine", {n: v + k / 50 for n, v in whole.items()}) for k in range(3)]
    lacks = Baseline("short", "mine", {"id": 0.5, board.over[0]: 0.4})
    (chapter,) = document(records, baselines=[*given, lacks]).chapters
    figure = next(f for f in chapter.figures if f.name == "id-ood")
    assert "Crosses are 3 baselines (mine)" in figure.caption
    assert figure.caption.endswith(
        f" 1 supplied baseline without {', '.join(board.over[1:])} was left out."
    )
