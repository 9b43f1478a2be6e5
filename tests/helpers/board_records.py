"""For tests: invented records of a method on all evaluation sets of a leaderboard."""

from __future__ import annotations

from typing import Any

from bench.core.records import Record

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
