#!/usr/bin/env python
"""Write the pages of results/ from committed records and published tables: same input, same bytes.

python scripts/pages/results_page.py

Each run's report is written again from its records, then README.md and index.html of results/ and
of results/published/. Nothing is trained or measured, and no number is typed.
"""

from __future__ import annotations

import html
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import markdown_page
from results_beside import beside
from results_findings import findings

from bench.core.errors import RegressionError
from bench.core.paths import write_atomic
from bench.core.records import MissingCell, Record
from bench.leaderboard.published.evidence import Evidence
from bench.leaderboard.published.layouts import Preset
from bench.leaderboard.published.ledger import LedgerEntry, count_verdicts, ledger
from bench.leaderboard.published.tables import published_tables
from bench.report.document import Chapter, Document, document
from bench.report.figures.rasterize import chart_svg
from bench.report.figures.spec import Chart
from bench.report.formats.text import escape, markdown_table
from bench.report.published_tables import published_markdown as published_markdown
from bench.report.published_tables import reproduction_commands
from bench.report.run_folder import read_presets, read_run, read_samples, report_sources
from bench.report.tables.ledger import ledger_table
from bench.report.tables.table import Table
from bench.report.write import USUAL
from bench.runs.study.config import RunConfig

RESULTS = Path(__file__).parents[2] / "results"
SHOWN = ("leaderboard", "standings", "calibration ece")
"""The tables of a report that the page shows; `FOLDED` it shows on demand."""
FOLDED = ("choices",)
IN_FULL = ("vrf-table1", "carot-slides")
"""The published tables whose ledger stands on the page itself."""

INTRODUCTION = """\
# Results

The project's own leaderboards, from committed records, with published numbers beside them. This
page and [published/](published/README.md) are written by

    python scripts/pages/results_page.py

from `results/*/records.jsonl` and `results/published/*.json`: change those, then run the script; a
test fails if page and records differ. A new leaderboard is a folder here with a finished run; the
command above each one makes its run again. `results/runs/` holds your own and is not committed.

*Published* is what papers, slides and listings print, digit by digit. *Measured* is ours. They
stand side by side to be read together; only the [ledger](#reproduction-ledger) says whether one
reproduces the other.
"""
ATTEMPT = """\
### How to attempt one

On a machine with a GPU and the real data; [docs/published.md](../docs/published.md) says what
counts and within which tolerance, [docs/datasets.md](../docs/datasets.md) how to get the data.

    export BENCH_DATA=~/data
    bench data download --suite imagenet
    bench data status
{commands}

Put the run's folder into `results/` and run `python scripts/pages/results_page.py`: the ledger
counts it. The commands for every other table are [with it](published/README.md).
"""
PUBLISHED = """\
# Published tables

Every table of [results/published/](.) as printed, and what our committed records say of each cell;
[results/](../README.md) has the sum. Written by `python scripts/pages/results_page.py`.
[docs/published.md](../../docs/published.md) says how the tables were read and what is amiss.
"""


@dataclass(frozen=True)
class Run:
    """A committed run."""

    name: str
    config: Mapping[str, Any]
    records: Sequence[Record]
    missing: Sequence[MissingCell]
    presets: tuple[Preset, ...]

    @cached_property
    def document(self) -> Document:
        """Its report."""
        samples = tuple(read_samples(RESULTS / self.name))
        return document(self.records, self.missing, self.presets, samples)


def runs() -> tuple[Run, ...]:
    """Every run whose records lie directly in results/; those of papers' tables come last."""
    found = []
    for path in RESULTS.glob("*/records.jsonl"):
        folder = path.parent
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found.append(Run(folder.name, config, *read_run(folder), read_presets(folder)))
    return tuple(sorted(found, key=lambda run: (len(run.presets), run.name != "mini", run.name)))


def command(run: Run) -> str:
    """The command line that makes a run again."""
    usual, said = RunConfig().results(), ["bench", "run"]
    for name in usual:
        value = run.config.get(name, usual[name])
        follows = name == "methods" and run.config["table"]
        if value == usual[name] or follows or (name, value) == ("precision", "fp32"):
            continue
        option = f"--{name.replace('_', '-')}"
        if name == "set":
            for method, settings in value.items():
                for key, setting in settings.items():
                    said += [option, f"{method}.{key}={setting}"]
        elif isinstance(value, bool):
            said.append(option if value else f"--no-{name}")
        else:
            said += [option, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    if any(not suite.startswith("mini") for suite in run.config["suite"]):
        said += ["--data", "DIR"]
    return shlex.join([*said, "--out", f"results/{run.name}"])


def pages() -> Mapping[Path, str]:
    """Every page's text by its path."""
    found = runs()
    statuses = entries(found)
    main, published = page(found, statuses), published_page(statuses)
    return {
        RESULTS / "README.md": main,
        RESULTS / "index.html": markdown_page.page(main, RESULTS),
        RESULTS / "published" / "README.md": published,
        RESULTS / "published" / "index.html": markdown_page.page(published, RESULTS / "published"),
    }


def entries(found: Sequence[Run]) -> Mapping[str, tuple[LedgerEntry, ...]]:
    """The reproduction ledger of every published table over all runs together."""
    records = [record for run in found for record in run.records]
    missing = [absent for run in found for absent in run.missing]
    backing = Evidence(records)
    for run in found:
        backing.of(read_samples(RESULTS / run.name))
    of = {
        name: ledger(t, records, missing, backing=backing) for name, t in published_tables().items()
    }
    if unverified := [e for same in of.values() for e in same if e.verdict == "not verified"]:
        raise RegressionError(
            f"{len(unverified)} published cells would be reproduced by records that no samples "
            "back: commit the runs' samples/ with them"
        )
    return of


def page(found: Sequence[Run], statuses: Mapping[str, tuple[LedgerEntry, ...]]) -> str:
    """results/README.md."""
    parts = [INTRODUCTION, "## In short", _overview(found)]
    for run in found:
        parts += _run(run)
    parts += _ledger(statuses)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _overview(found: Sequence[Run]) -> str:
    lines = [
        f"- [{run.name}](#{markdown_page.anchor(_heading(run))}), on {escape(chapter.title)}: "
        f"{escape(chapter.summary)}"
        for run in found
        for chapter in run.document.chapters
    ]
    return "\n".join([*lines, "- [Reproduction ledger](#reproduction-ledger)"])


def _heading(run: Run) -> str:
    form = f", in the form of {run.presets[0].title}" if run.presets else ""
    return f"Measured: {run.name}{form}"


def _run(run: Run) -> Iterator[str]:
    """A run: how it is made again, what it shows, its tables, and what is published beside it."""
    yield f"## {_heading(run)}"
    yield f"    {command(run)}"
    mini = "What the suite is: [docs/mini.md](../docs/mini.md), a small model on drawings."
    links = (
        f"[Report]({run.name}/report.md), [records]({run.name}/records.jsonl), "
        f"[config]({run.name}/config.json)."
    )
    yield " ".join((links, *((mini,) if run.config["suite"] == ["mini"] else ())))
    for chapter in run.document.chapters:
        yield f"### On {escape(chapter.title)}"
        yield from (f"> **{escape(said)}**" for said in (*chapter.warnings, *chapter.marks))
        yield escape(chapter.summary)
        for chart, name in _shown(run, chapter):
            yield f"![{escape(chart.title)}, {escape(chapter.title)}]({run.name}/{name})"
            yield escape(chart.caption)
        if said := [f"- {escape(text)}" for text in findings(run.name, chapter.numbers)]:
            yield "\n".join(said)
        yield from _beside(run, chapter)
        for table in chapter.tables:
            if table.name in SHOWN:
                yield f"#### {escape(table.caption)}"
                yield from _table(table)
        for table in chapter.tables:
            if table.name in FOLDED:
                yield _folded(table.caption, _table(table))


def _shown(run: Run, chapter: Chapter) -> Iterator[tuple[Chart, str]]:
    """The figures that stand here, with the names of their files in the run's folder."""
    number = run.document.chapters.index(chapter)
    for chart in chapter.figures:
        if chart.name == "id-ood" and chart.spec is not None:
            yield chart, f"id-ood-{number}.svg" if number else "id-ood.svg"


def _table(table: Table) -> Iterator[str]:
    yield markdown_table(table)
    if table.note:
        yield escape(table.note)


def _folded(title: str, parts: Iterable[str]) -> str:
    summary = f"<details><summary>{html.escape(title)}</summary>"  # no Markdown in HTML
    return "\n\n".join((summary, *parts, "</details>"))


def _beside(run: Run, chapter: Chapter) -> Iterator[str]:
    """Published tables beside a run: that whose form it has, and those of its own sets."""
    names, suite = {preset.name for preset in run.presets}, chapter.numbers.board.suite
    for name, table in published_tables().items():
        other_data = name in names and suite not in table.suites
        content = beside(table, chapter, other_data=other_data)
        if content is None:
            continue
        said = (
            "Other data, another model: to be read for which rows gain and lose, not for a "
            "reproduction. "
            if other_data
            else "The same data sets, models as named; the ledger says what else differs. "
        )
        source = f"Published: [{escape(table.title)}](published/README.md#{name})."
        if other_data:
            yield f"#### {escape(content.caption)}"
            yield said + source
            yield markdown_table(content)
        else:
            yield _folded(content.caption, (said + source, markdown_table(content)))


def _ledger(found: Mapping[str, tuple[LedgerEntry, ...]]) -> Iterator[str]:
    """The reproduction ledger: sums and reasons of every table, and how to attempt one."""
    everything = [entry for same in found.values() for entry in same]
    counts = count_verdicts(everything)
    yield "## Reproduction ledger"
    yield (
        f"Of {len(everything):,} published cells in {len(found)} tables **{counts['reproduced']:,} "
        f"are reproduced** by the committed records, {counts['not reproduced']:,} are not "
        f"reproduced, {counts['not attempted']:,} were not attempted. Difference rows claim "
        "nothing of their own and are not counted."
    )
    attempted = [name for name, same in found.items() if any(not e.reason for e in same)]
    if not attempted:
        yield (
            "None was attempted: a cell counts only if it was measured as it was claimed, on the "
            "same data, with the same model, row and protocol. However well other numbers agree, "
            "they reproduce nothing."
        )
    yield ATTEMPT.format(
        commands="\n".join(
            f"    {line}"
            for name in IN_FULL
            for line in reproduction_commands(published_tables()[name])
        )
    )
    yield "### By table"
    yield _sums(found)
    yield "### Cell by cell"
    for name in dict.fromkeys((*IN_FULL, *attempted)):
        content = ledger_table(published_tables()[name], found[name])
        yield _folded(content.caption, (markdown_table(content),))
    yield "The other tables, printed and cell by cell: [published/](published/README.md)."


def _sums(found: Mapping[str, tuple[LedgerEntry, ...]]) -> str:
    """How many cells of each table have which status, and why not."""
    lines = [
        "| Table | Cells | Reproduced | Not reproduced | Not attempted | Why not attempted |",
        "|:---|---:|---:|---:|---:|:---|",
    ]
    for name, same in found.items():
        reasons = Counter(entry.reason for entry in same if entry.reason).most_common()
        why = "; ".join(f"{number} × {reason}" for reason, number in reasons)
        sums = " | ".join(map(str, (len(same), *count_verdicts(same).values())))
        title = f"[{escape(published_tables()[name].title)}](published/README.md#{name})"
        lines.append(f"| {title} | {sums} | {escape(why)} |")
    return "\n".join(lines)


def published_page(found: Mapping[str, tuple[LedgerEntry, ...]]) -> str:
    """results/published/README.md."""
    listed = [f"- [{escape(table.title)}](#{name})" for name, table in published_tables().items()]
    parts = [PUBLISHED, "\n".join(listed)]
    for name, table in published_tables().items():
        content, counts = ledger_table(table, found[name]), count_verdicts(found[name])
        lines = [f"    {line}" for line in reproduction_commands(table)]
        sums = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
        parts += [f'<a id="{name}"></a>', published_markdown(table)]
        none = "No run is comparable with it."
        parts += ["To attempt it:", "\n".join(lines)] if lines else [none]
        parts.append(_folded(f"{content.caption}: {sums}", (markdown_table(content),)))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


if __name__ == "__main__":
    for one in runs():
        folder = RESULTS / one.name
        report_sources(folder).write(folder, USUAL)
        for chapter in one.document.chapters:
            for chart, name in _shown(one, chapter):
                write_atomic(folder / name, chart_svg(chart, chapter.marks))
    for path, text in pages().items():
        write_atomic(path, text.encode())
