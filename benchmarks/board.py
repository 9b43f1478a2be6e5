"""Measure how long a browser takes to open a board: 100 rows on each of 10 suites.

    python benchmarks/board.py [--rows 100] [--suites 10] [--repeats 5]

The rows are invented, with three seeds, five shifts, accuracy, ECE and NLL, cost and parameters.
The time is from the start of navigation until the table stands in the page and two frames have
been drawn, in headless Chromium; figures follow when they are in the window. Needs playwright and
a Chromium on the PATH.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from playwright.sync_api import sync_playwright

from bench.core.records import Record
from bench.report.document import document
from bench.report.formats.board.page import board_html
from bench.report.formats.board.view import board_view
from bench.testing.fakes import fake_records

SHIFTS = ("v2", "sketch", "a", "r", "objectnet")
READY = """async () => {
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  await frame(); await frame();
  return performance.now();
}"""


def rows(number: int, suite: str) -> Iterator[Record]:
    """Yield the records of this many rows on a suite."""
    noise = random.Random(suite)
    names = ["zero-shot", "e2e-ft", *(f"vrf:base-{i:02}" for i in range(number - 2))]
    values = {name: [noise.uniform(0.3, 0.8) for _ in range(6)] for name in names}
    cost = {"cost": {"encoders": 2, "training_images": 24_000}}
    for record in fake_records(values, shifts=SHIFTS):
        choice = {"a": 0.5, "b": 0.2} if record.base else {}
        for seed in (None,) if record.seed is None else (0, 1, 2):
            for metric in ("top1", "ece", "nll"):
                change = {"suite": suite, "seed": seed, "metric": metric, "choice": choice}
                value = record.value + noise.uniform(-0.01, 0.01)
                yield record.model_copy(update=change | {"value": value, "provenance": cost})


def main() -> None:
    """Print the page's size and times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--suites", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    of = parser.parse_args()
    records = [r for n in range(of.suites) for r in rows(of.rows, f"suite {n}")]
    start = time.process_time()
    page = board_html(board_view(document(records).chapters))
    print(f"{len(records):,} records: {time.process_time() - start:.1f} CPU s to make the page")
    browser = next(p for n in ("chromium", "google-chrome") if (p := shutil.which(n)))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        path = Path(folder) / "board.html"
        path.write_text(page)
        print(f"{path.stat().st_size / 1e6:.1f} MB")
        chromium = started.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        times, choices = [], []
        for _ in range(of.repeats):
            shown = chromium.new_page(viewport={"width": 1440, "height": 900})
            shown.goto(path.as_uri())
            times.append(shown.evaluate(READY))
            count = shown.locator('[data-table="board"] tbody tr').count()
            choose = "() => { const start = performance.now(); location.hash = 'suite=suite+3';"
            waits = "return new Promise((done) => addEventListener('hashchange', () => done("
            choices.append(shown.evaluate(f"{choose} {waits} performance.now() - start))); }}"))
            shown.close()
        print(
            f"open, {count} rows drawn: median {median(times):.0f} ms, {sorted(map(round, times))}"
        )
        print(f"choose another suite: median {median(choices):.0f} ms")


if __name__ == "__main__":
    main()
