"""For tests: invented records of a method on all evaluation sets of a leaderboard."""

from __future__ import annotations

from typing import Any

from bench.core.records import Record
from bench.leaderboard.published.baselines import images_per_set
from bench.testing.fakes import FAKE_ROWS, fake_records

SHIFTS = ("v2", "sketch", "a", "r", "objectnet")
TITLES = {
    "zero-shot": "Zero-shot",
    "linear": "Linear",
    "e2e-ft": "E2E-FT",
    "lp-ft": "LP-FT",
    "wise-ft": "WiSE-FT",
    "ose": "OSE",
    "vrf": "VRF",
}


def record(method: str, base: str | None, shift: str, value: float, **more: Any) -> Record:
    """Return a top-1 cell of the suite `s` with all of SHIFTS; `more` replaces its fields."""
    order = 0 if shift == "id" else 1 + SHIFTS.index(shift)
    fields: dict[str, Any] = {
        "suite": "s",
        "model": "m",
        "method": method,
        "base": base,
        "title": TITLES.get(method, method),
        "seed": 0,
        "shift": shift,
        "order": order,
        "metric": "top1",
        "value": value,
        "n": 100,
        "shifts_in_suite": len(SHIFTS),
    }
    return Record(**(fields | more))


def row_records(
    method: str, base: str | None = None, values: tuple[float, ...] = (0.5,) * 6, **more: Any
) -> list[Record]:
    """Return the cells of a row: ID, then the shifts."""
    places = ("id", *SHIFTS)
    return [record(method, base, p, v, **more) for p, v in zip(places, values, strict=False)]


def on_imagenet(**more: Any) -> list[Record]:
    """Records of ViT-B/32 on all images of ImageNet and its five shifts."""
    values = {row: (0.7, *(0.5,) * len(SHIFTS)) for row in FAKE_ROWS}
    found = fake_records(values, shifts=SHIFTS)
    n = images_per_set("imagenet")
    update = {"suite": "imagenet", "model": "ViT-B-32/openai", "protocol": "official"} | more
    return [r.model_copy(update={"n": n[r.shift]} | update) for r in found]
