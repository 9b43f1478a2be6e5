"""The plan of a run as plain data, for ``plan.json``."""

from __future__ import annotations

import json
from collections.abc import Iterable

from bench.api.recipes import Fisher, TextHead, Tuned
from bench.core.hashing import canonical
from bench.runs.items import (
    CellItem,
    FeaturesItem,
    FitItem,
    GivenItem,
    ScaleItem,
    WeightsItem,
    WorkItem,
)
from bench.runs.plan import Plan


def plan_text(plans: Iterable[Plan]) -> str:
    """Return the content of ``plan.json``: the items of all plans."""
    items = [_describe_item(item) for plan in plans for item in plan.items.values()]
    return json.dumps(items, indent=1, sort_keys=True) + "\n"


def _describe_item(item: WorkItem) -> dict[str, object]:
    base: dict[str, object] = {"key": item.key, "inputs": list(item.inputs)}
    match item:
        case WeightsItem():
            kinds = {Tuned: "train", TextHead: "head", Fisher: "fisher"}
            kind = kinds[type(item.recipe)]
            return base | {"kind": kind, "recipe": canonical(item.recipe)}
        case FeaturesItem():
            return base | {"kind": "predict", "split": item.split.name, "rows": item.split.size}
        case FitItem():
            return base | {"kind": "fit", "row": item.row.name, "seed": item.seed}
        case ScaleItem():
            row = {"row": item.row.name, "seed": item.fit.seed}
            return base | {"kind": "scale"} | row | {"choice": dict(item.choice)}
        case CellItem():
            where = {"shift": item.shift.name, "metric": item.metric.name}
            row = {"row": item.row.name, "seed": item.fit.seed, "scaled": item.scale is not None}
            return base | {"kind": "score"} | row | where | {"choice": dict(item.choice)}
        case GivenItem():
            return base | {"kind": "given"}
        case _:
            return base
