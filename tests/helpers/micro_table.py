"""For tests: a table that was printed of the embedded model on `micro`, to be reproduced."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from bench.api.registry import find_dataset
from bench.front import reproduce
from bench.front.reproduce import Reproduction
from bench.leaderboard.published import layouts, places
from bench.leaderboard.published.layouts import Preset, PresetRow
from bench.leaderboard.published.places import Counterpart
from bench.leaderboard.published.tables import parse_published_table

NAME = "micro-table"


def print_table(patch: pytest.MonkeyPatch, cells: Mapping[str, str]) -> None:
    """Make ``bench reproduce`` find a table with the ID accuracy of rows, {row: printed cell}.

    `micro` is taken for a complete data set, whose numbers count.
    """
    source = {"paper": "x", "arxiv": None, "table": "x", "url": None, "seen_in": "x"}
    column = {"label": "ID", "suite": "x", "dataset": "micro-id", "metric": "top1"}
    rows = [_row(name, cell) for name, cell in cells.items()]
    content = {
        "name": NAME,
        "title": "A table",
        "source": {**source, "secondary": False},
        "conditions": {"ours": "official", "chosen": "x", "training": "x", "ece": None},
        "labels": "ours",
        "remarks": [],
        "columns": [{**column, "unit": "percent", "scaled": None}],
        "groups": [{"backbone": "tiny", "rows": rows}],
    }
    table = parse_published_table(f"{NAME}.json", json.dumps(content))
    groups = (tuple(PresetRow(name, name) for name in cells),)
    preset = Preset(NAME, "A table", "nowhere", "shifts", groups)
    goal = Reproduction(preset, table)
    patch.setattr(find_dataset("micro"), "notes", ())
    patch.setitem(places.MODELS, "tiny", "tiny/embedded")
    patch.setitem(places.PLACES, "micro-id", Counterpart("micro", "id"))
    patch.setitem(layouts.PRESETS, NAME, preset)
    patch.setattr(reproduce, "find_reproduction", lambda name: goal)


def _row(name: str, cell: str) -> dict[str, object]:
    method, _, base = name.partition(":")
    named = {"label": name, "ours": name, "method": method, "base": base or None}
    return {**named, "modifiers": {}, "cells": [cell]}
