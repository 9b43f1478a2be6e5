"""For tests: report pages in a headless browser, and random runs with samples."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from bench.core.records import MissingCell, Record
from bench.leaderboard.samples import EvaluationSet, SampleOutputs
from bench.leaderboard.stats.outcomes import Outcomes
from bench.report.write import write_report

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "BENCH_NEEDS_BROWSER"
"""If this environment variable is set, tests of pages fail without a browser."""
SMALL_SETS = {"id": 800, "v2": 500, "sketch": 600, "a": 300}
METHODS = (
    ("zero-shot", None, "Zero-shot", 0.55),
    ("e2e-ft", None, "E2E-FT", 0.60),
    ("wise-ft", "e2e-ft", "WiSE-FT", 0.64),
    ("ose", "e2e-ft", "OSE", 0.63),
    ("vrf", "e2e-ft", "VRF", 0.645),
)


def unable(reason: str) -> NoReturn:
    """Skip the test, or fail it if a browser is required, as in CI."""
    if os.environ.get(REQUIRED):
        pytest.fail(f"{REQUIRED} is set, and {reason}")
    pytest.skip(reason)


@contextmanager
def opened(path: Path | str, width: int = 1440) -> Iterator[Any]:
    """A Playwright page that shows a file, or a site by its address with a slash at the end.

    Fails on errors and on requests for other files or sites.
    """
    address = path.as_uri() if isinstance(path, Path) else path
    own = address.__eq__ if isinstance(path, Path) else re.compile(re.escape(address)).match
    try:
        import playwright.sync_api as playwright
    except ModuleNotFoundError:
        unable("playwright is not installed")
    found = next((p for name in BROWSERS if (p := shutil.which(name))), None)
    if found is None:
        unable(f"no browser: none of {', '.join(BROWSERS)} is on PATH")
    faults: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=found, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda r: None if own(r.url) else faults.append(r.url))
        page.goto(address)
        yield page
        browser.close()
    assert not faults, faults[:3]


def curve(records: Sequence[Record], method: str = "wise-ft") -> list[Record]:
    """Return the curve of a method: its chosen candidate (alpha 0.5) and two others."""
    own = [r for r in records if r.method == method and r.metric == "top1"]
    moved = {0.3: -0.02, 0.5: 0.0, 0.7: 0.01}
    return [
        r.model_copy(update={"kind": "curve", "choice": {"alpha": a}, "value": r.value + by})
        for r in own
        for a, by in moved.items()
    ]


def run_of_chance(
    sets: Mapping[str, int] = SMALL_SETS,
    methods: Sequence[tuple[str, str | None, str, float]] = METHODS,
    seeds: Sequence[int] = (0, 1, 2),
    **more: Any,
) -> tuple[list[Record], list[SampleOutputs]]:
    """Return records of accuracy and ECE, and random samples with exactly that accuracy."""
    rng = np.random.default_rng(5)
    records, samples = [], []
    for order, (shift, n) in enumerate(sets.items()):
        on = EvaluationSet(f"ids of {shift}", "", np.zeros((n, 1), np.int64), {}, {})
        hard, noise = rng.normal(size=n), [rng.normal(size=n) for _ in range(3)]
        for number, (method, base, title, level) in enumerate(methods):
            for seed in (None,) if method == "zero-shot" else seeds:
                own = rng.normal(size=n) * 0.4 + 0.4 * noise[number % 3]
                right = hard + own < (level - 0.5) * 4 - 0.3 * order + 0.02 * (seed or 0)
                confidence = np.clip(0.5 + 0.2 * (1 - hard) + 0.1 * own, 0.01, 0.9999)
                record = Record(
                    suite="s",
                    model="tiny/embedded",
                    method=method,
                    base=base,
                    title=title,
                    seed=seed,
                    shift=shift,
                    order=order,
                    shifts_in_suite=len(sets) - 1,
                    metric="top1",
                    value=float(right.mean()),
                    n=n,
                    choice={"alpha": 0.5} if base else {},
                    provenance={
                        "key": f"{method}-{shift}-{seed}",
                        "method": {"type": "T", "version": 1, "lr": 0.001},
                        "backbone": {"model": "tiny"},
                        "data": {"evaluation": f"fingerprint of {shift}"},
                        "cost": {"encoders": 2 if base == "ose" else 1, "training_images": 1000},
                    },
                ).model_copy(update=more)
                records.append(record)
                update = {"metric": "ece", "value": abs(float(confidence.mean() - right.mean()))}
                records.append(record.model_copy(update=update))
                samples.append(SampleOutputs(record, on, right, confidence, np.zeros(n, np.int64)))
    return records, samples


def with_the_rest(records: Sequence[Record]) -> list[Record]:
    """Return `records` with the other records of a run: NLL, Brier, scaled cells and curves."""
    rng = np.random.default_rng(6)
    cells = list(records)
    for record in (one for one in records if one.metric == "top1"):
        for metric in ("nll", "brier"):
            cells.append(record.model_copy(update={"metric": metric, "value": rng.random()}))
    found = list(cells)
    for record in cells:
        bare = {"provenance": {"key": f"{record.metric} {record.provenance['key']}"}}
        found.append(record.model_copy(update=bare | {"kind": "scaled", "temperature": 0.8}))
        for candidate in range(32) if record.base else ():
            update = {"kind": "curve", "choice": {"alpha": candidate / 32}}
            found.append(record.model_copy(update=bare | update))
    return found


def written(
    tmp_path: Path,
    made: tuple[list[Record], list[SampleOutputs]],
    missing: tuple[MissingCell, ...] = (),
    **more: Any,
) -> Path:
    records, samples = made
    write_report(tmp_path, records, missing, formats=("html",), samples=samples, **more)
    return tmp_path / "report.html"


def column(page: Any, table: str, index: int) -> list[str]:
    """Return the texts of a column, one per visible row, without small print."""
    rows = page.locator(f'table[data-table="{table}"] tbody tr:not(.head):visible')
    return [
        re.sub(r"\s*±.*|\s*\[.*", "", text)
        for text in rows.locator(f":scope > :nth-child({index + 1})").all_inner_texts()
    ]


def outcomes(samples: list[SampleOutputs], name: str, base: str | None, shift: str) -> Outcomes:
    found = [s for s in samples if (s.record.method, s.record.base) == (name, base)]
    right = np.array([s.right for s in found if s.record.shift == shift])
    return Outcomes(f"ids of {shift}", right)


def assert_close(text: str, bounds: tuple[Any, Any]) -> None:
    """Assert that printed bounds match to 0.01 points, apart from rounding."""
    shown = [float(part) / 100 for part in text.split(" to ")]
    assert shown == pytest.approx([float(b) for b in bounds], abs=0.0005 + 0.0001)


def cell(page: Any, table: str, row: str, index: int) -> Any:
    """Return the button of a cell; `index` counts from 0 after the row's name."""
    return page.locator(f'table[data-table="{table}"] tr[data-row="{row}"] td button').nth(index)


def lines(table: Any) -> list[list[str]]:
    return [line.split("\t") for line in table.locator("tbody").inner_text().splitlines()]


def values_of(page: Any, figure: str) -> list[dict[str, Any]]:
    """Return the data of the points in a rendered figure."""
    page.wait_for_function("benchReport.drawings.every((d) => d.drawn)")
    found: list[dict[str, Any]] = page.evaluate(
        """(name) => {
          const drawing = benchReport.drawings.find((d) => d.figure.dataset.figure === name);
          const of = (group) => (group.items ?? []).flatMap((item) => item.items ? of(item)
            : group.marktype === "symbol" && group.role === "mark" ? [{ ...item.datum,
              faded: item.opacity < 0.5, grey: item.fill }] : []);
          return drawing.view.then((view) => of(view.scenegraph().root));
        }""",
        figure,
    )
    return found
