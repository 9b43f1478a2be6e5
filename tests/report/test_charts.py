"""Figures: consistent colours and shapes, axes, captions and checkpoints."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pytest
import vl_convert
from browser import METHODS, SMALL_SETS, curve, run_of_chance
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

from bench.api.registry import methods
from bench.core.records import Record
from bench.leaderboard.published.baselines import Baseline
from bench.leaderboard.samples import SampleOutputs
from bench.report.figures.drawing import count_axis
from bench.report.figures.rasterize import chart_svg
from bench.report.figures.spec import Chart
from bench.report.figures.style import GREY, OTHER_COLOURS
from bench.report.run_folder import read_run, read_samples
from bench.report.write import document

More = tuple[str, str | None, str, float]
CONTROL: More = ("vrf-shuffled", "e2e-ft", "VRF, w shuffled", 0.6)
LINEAR: More = ("linear", None, "Linear classifier", 0.58)
LP_FT: More = ("lp-ft", None, "LP-FT", 0.62)
ON_LP_FT: More = ("vrf", "lp-ft", "VRF", 0.66)
OTHER: More = ("mine", None, "Mine", 0.61)
EPOCHS: tuple[More, ...] = tuple((f"e2e-ft@{i}", None, f"E2E-FT, epoch {i}", 0.6) for i in (2, 10))


def run(*more: More, costs: Mapping[str, int] | None = None) -> Any:
    """Records and samples of the default methods and of `more`; `costs` are images by method."""
    records, samples = run_of_chance(methods=(*METHODS, *more), seeds=(0, 1))

    def changed(record: Record) -> Record:
        role = "control" if record.method == CONTROL[0] else "method"
        cost = record.provenance["cost"] | {
            "training_images": (costs or {}).get(record.method, 1000)
        }
        provenance = record.provenance | {"cost": cost}
        return record.model_copy(update={"role": role, "provenance": provenance})

    return list(map(changed, records)), samples


def drawn(records: Sequence[Record], samples: Sequence[SampleOutputs] = ()) -> dict[str, Chart]:
    (chapter,) = document(records, samples=samples).chapters
    return {figure.name: figure for figure in chapter.figures}


def encodings(spec: Any, channel: str) -> list[Any]:
    """Every definition of a channel in a specification."""
    parts = [spec, *spec.get("layer", ())]
    if "spec" in spec:
        parts += spec["spec"]["layer"]
    return [p["encoding"][channel] for p in parts if channel in p.get("encoding", {})]


COLOURS = {n: c for n, cls in methods().items() if (c := vars(cls).get("colour")) is not None}


def legend(spec: Any, channel: str = "color") -> dict[str, str]:
    """The colour or shape of each name in a legend."""
    (scale,) = {repr(e["scale"]): e["scale"] for e in encodings(spec, channel)}.values()
    return dict(zip(scale["domain"], scale["range"], strict=True))


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance."""
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


def test_every_method_has_a_colour_of_its_own() -> None:
    assert COLOURS.keys() == {n for n, c in methods().items() if not c.is_control}
    assert len({*COLOURS.values(), GREY}) == len(COLOURS) + 1
    assert set(OTHER_COLOURS) <= set(COLOURS.values())  # so that all colours are far apart


@pytest.mark.parametrize("colour", [*COLOURS.values(), GREY])
def test_colours_can_be_seen_on_light_and_on_dark_pages(colour: str) -> None:
    style = (files("bench.report.formats") / "templates" / "report.css").read_text()
    grounds = re.findall(r"--ground: (#[0-9a-f]{6})", style)
    assert len(grounds) == 2
    for ground in grounds:
        low, high = sorted((luminance(colour), luminance(ground)))
        assert (high + 0.05) / (low + 0.05) >= 3


def test_main_colours_differ_to_eyes_without_red_or_green_cones() -> None:
    # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB; distances in Oklab
    views = {
        "all": np.eye(3),
        "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
        "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                     [-0.011820, 0.042940, 0.968881]],
    }  # fmt: skip
    cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
             [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
    lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
           [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip
    main = [colour for colour in COLOURS.values() if colour not in OTHER_COLOURS]
    c = np.array([[int(x[i : i + 2], 16) for i in (1, 3, 5)] for x in main]) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    for name, matrix in views.items():
        seen = np.clip(linear @ np.array(matrix).T, 0, 1)
        places = np.cbrt(seen @ np.array(cones).T) @ np.array(lab).T
        apart = np.linalg.norm(places[:, None] - places[None], axis=2)
        assert apart[np.triu_indices(len(main), 1)].min() > 0.075, name


FIGURES = ("id-ood", "differences", "ece-accuracy-ood", "cost")


@pytest.mark.parametrize("name", FIGURES)
def test_a_method_has_the_same_colour_in_every_report(name: str) -> None:
    few, many = drawn(*run()), drawn(*run(LINEAR, LP_FT, ON_LP_FT, OTHER, CONTROL))
    one, other = legend(few[name].spec), legend(many[name].spec)
    assert one.items() < other.items()
    assert one["VRF"] == COLOURS["vrf"] and one["E2E-FT"] == COLOURS["e2e-ft"]
    assert len(set(other.values())) == len(other)
    assert other["Mine"] in OTHER_COLOURS


@pytest.mark.parametrize("name", FIGURES)
def test_a_shape_is_a_base(name: str) -> None:
    found = legend(drawn(*run(LP_FT, ON_LP_FT))[name].spec, "shape")
    assert found == {
        "not an ensemble": "circle",
        "on E2E-FT": "square",
        "on LP-FT": "triangle-up",
    }


@pytest.mark.parametrize("name", FIGURES)
def test_controls_are_grey_and_in_no_legend_but_in_tooltips(name: str) -> None:
    figure = drawn(*run(CONTROL))[name]
    assert figure.spec is not None
    if name == "id-ood":  # the page draws them on request
        (layer,) = figure.spec["usermeta"]["on_request"]
        shown = figure.spec | {"layer": [layer, *figure.spec["layer"]]}
        figure = replace(figure, spec=shown)
    assert not any("shuffled" in method for method in legend(figure.spec))
    assert all(e["condition"]["value"] == GREY for e in encodings(figure.spec, "color"))
    svg = chart_svg(figure).decode()
    assert GREY in svg and "VRF, w shuffled on E2E-FT" in svg
    assert "Small and grey: ablations." in figure.caption
    assert "grey" not in drawn(*run())[name].caption


def test_reliability_has_methods_alone_and_the_table_all() -> None:
    figure = drawn(*run(CONTROL))["reliability"]
    assert figure.spec is not None and figure.table is not None
    assert not any("shuffled" in v["row"] for v in figure.spec["datasets"]["points"])
    assert any("shuffled" in line.items[0].text for line in figure.table.groups[0])
    assert "Ablations and checkpoints are only in the table" in figure.caption


@settings(deadline=None)  # altair reads its schema at the first call
@given(st.lists(st.integers(0, 2_000_000_000), min_size=1, max_size=9))
def test_an_axis_of_counts_begins_at_nothing_and_its_ticks_are_apart(counts: list[int]) -> None:
    axis = count_axis([0, *counts])
    low, high = axis["scale"]["domain"]
    ticks = axis["axis"]["values"]
    assert ticks[0] == 0 and low < 0 and high > max(counts)
    assert -low < high / 10
    places = np.log1p(np.array(ticks) / 1000) / np.log1p(high / 1000)
    assert len(ticks) >= 2 and np.diff(places).min() > 0.1


def test_heads_on_stored_features_do_not_read_as_no_training() -> None:
    figure = drawn(*run(LINEAR, costs={"zero-shot": 0, "linear": 0}))["cost"]
    assert "Linear classifier is trained despite 0 images" in figure.caption
    assert "despite" not in drawn(*run(costs={"zero-shot": 0}))["cost"].caption


def test_a_rows_point_stands_out_from_its_candidates() -> None:
    records, samples = run()
    figure = drawn([*records, *curve(records)], samples)["id-ood"]
    assert figure.spec is not None
    layers = {layer["name"]: layer for layer in figure.spec["layer"]}
    rows, candidates = layers["points"], layers["candidates"]
    assert rows["mark"]["type"] == candidates["mark"]["type"] == "point"
    assert rows["mark"]["filled"] and not candidates["mark"]["filled"]
    small, large = (layer["encoding"]["size"] for layer in (candidates, rows))
    assert small["value"] < small["condition"]["value"] < large["condition"]["value"] / 2
    chosen = {v["candidate"]: v["chosen"] for v in figure.spec["datasets"]["paths"]}
    assert chosen == {
        "alpha 0.3": "not chosen",
        "alpha 0.5": "chosen",
        "alpha 0.7": "not chosen",
    }
    assert "hollow points are candidates on the test sets" in figure.caption
    assert "hollow" not in drawn(records, samples)["id-ood"].caption
    titles = {encoding["title"] for axis in "xy" for encoding in encodings(figure.spec, axis)}
    assert titles == {"ID, percent (logit scale)", "OOD mean, percent (logit scale)"}


def domains(spec: dict[str, Any]) -> list[list[float]]:
    return [spec["encoding"][axis]["scale"]["domain"] for axis in "xy"]


def test_axes_fit_the_methods_and_an_outlier_squashes_none() -> None:
    low = [
        r.model_copy(update={"value": r.value / 20}) if r.role == "control" else r
        for r in run(CONTROL)[0]
    ]
    models = [Baseline(f"m{i}", "mine", dict.fromkeys(SMALL_SETS, i / 1000)) for i in (1, 2, 3)]
    (plain,) = document([r for r in low if r.role == "method"]).chapters
    (chapter,) = document(low, baselines=models).chapters
    figure, alone = (next(f for f in c.figures if f.name == "id-ood") for c in (chapter, plain))
    assert figure.spec is not None and alone.spec is not None
    assert domains(figure.spec) == domains(alone.spec)
    names = [layer["name"] for layer in figure.spec["layer"]]
    assert names == [layer["name"] for layer in alone.spec["layer"]]
    asked = {layer["name"] for layer in figure.spec["usermeta"]["on_request"]}
    assert asked == {"baselines", "line", "aside"} and "usermeta" not in alone.spec
    drawn_points = chart_svg(figure).count(b'aria-roledescription="point"')
    assert drawn_points == chart_svg(alone).count(b'aria-roledescription="point"')
    assert figure.table is not None  # which has all of them
    assert "draws what follows on request" in figure.caption
    assert "request" not in alone.caption


def test_controls_alone_are_drawn() -> None:
    records, samples = run(CONTROL)
    alone = [r for r in records if r.role == "control"]
    spec = drawn(alone, samples)["id-ood"].spec
    assert spec is not None and len(spec["datasets"]["points"]) == 1


def test_checkpoints_are_joined_with_the_end_of_their_training() -> None:
    figure = drawn(*run(*EPOCHS))["id-ood"]
    assert figure.spec is not None
    assert {"trained", "points"} <= {layer["name"] for layer in figure.spec["layer"]}
    trained = figure.spec["datasets"]["trained"]
    in_order = [p["row"] for p in sorted(trained, key=lambda p: p["step"])]
    assert in_order == ["E2E-FT, epoch 2", "E2E-FT, epoch 10", "E2E-FT"]
    assert len({p["training"] for p in trained}) == 1
    points = {p["row"]: p for p in figure.spec["datasets"]["points"]}
    ends = [(points[p["row"]]["x"], points[p["row"]]["y"]) for p in trained]
    assert ends == [(p["x"], p["y"]) for p in trained]
    assert points["E2E-FT, epoch 2"]["kind"] == "checkpoint"
    assert points["E2E-FT, epoch 2"]["method"] == "E2E-FT"  # whose colour it has
    assert not any("epoch" in name for name in legend(figure.spec))
    assert "checkpoints" in figure.caption
    assert "checkpoints" not in drawn(*run())["id-ood"].caption


def test_checkpoints_without_their_end_are_rows() -> None:
    records, samples = run(*EPOCHS)
    figure = drawn([r for r in records if r.method != "e2e-ft" and r.base is None], samples)
    spec = figure["id-ood"].spec
    assert spec is not None
    assert {"E2E-FT, epoch 2", "E2E-FT, epoch 10"} < legend(spec).keys()


def everything() -> dict[str, Chart]:
    """Every kind of figure, with every kind of layer."""
    records, samples = run(LINEAR, LP_FT, ON_LP_FT, OTHER, CONTROL, *EPOCHS)
    found = drawn([*records, *curve(records)], samples)
    mini = ROOT / "results" / "mini"
    (chapter,) = document(*read_run(mini), samples=read_samples(mini)).chapters
    return found | {f"mini {figure.name}": figure for figure in chapter.figures}


def test_specifications_are_valid_in_a_vega_lite_of_the_renderer() -> None:
    version = alt.SCHEMA_VERSION.removeprefix("v").rpartition(".")[0]
    assert version in vl_convert.get_vegalite_versions()
    layers = set()
    for figure in everything().values():
        assert figure.spec is not None
        alt.Chart.from_dict(figure.spec)
        more = figure.spec.get("usermeta", {}).get("on_request", [])
        if more:
            alt.Chart.from_dict(figure.spec | {"layer": [*more, *figure.spec["layer"]]})
        layers |= {layer.get("name") for layer in (*more, *figure.spec.get("layer", ()))}
    everything_drawn = {"baselines", "line", "aside", "paths", "candidates", "trained", "points"}
    assert everything_drawn < layers


def test_figures_do_not_depend_on_what_altair_drew_and_was_told_before() -> None:
    before = everything()
    picked = alt.selection_point(fields=["method"], bind="legend")
    other = alt.Chart(alt.NamedData("other")).mark_point().add_params(picked)
    (other + alt.Chart().mark_rule().encode(x=alt.datum(0))).to_dict()
    with alt.theme.enable("dark"), alt.data_transformers.enable("default", max_rows=1):
        after = everything()
    assert [json.dumps(c.spec) for c in after.values()] == [
        json.dumps(c.spec) for c in before.values()
    ]


def test_every_figure_says_what_it_is_to_those_who_cannot_see_it() -> None:
    for figure in drawn(*run()).values():
        assert figure.spec is not None
        assert figure.spec["description"] == f"{figure.title}. {figure.caption}"
        root = ElementTree.fromstring(chart_svg(figure))
        assert root.attrib["aria-label"] == figure.spec["description"]
