#!/usr/bin/env python
"""Write the pages of results/ from committed records and published tables.

    python scripts/pages/results_page.py

The script writes each run's report from its records, then index.html (the board), README.md and
findings.html of results/, and README.md and index.html of results/published/. It trains and
measures nothing, no number is typed by hand, and the same input gives the same bytes.
"""

from __future__ import annotations

import html
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import markdown_page
import results_board
import results_elsewhere
from results_beside import side_by_side
from results_findings import findings

from bench.core.errors import RegressionError
from bench.core.paths import write_atomic
from bench.core.records import MissingCell, Record
from bench.leaderboard.published.evidence import Evidence
from bench.leaderboard.published.layouts import Preset
from bench.leaderboard.published.ledger import LedgerEntry, count_verdicts, ledger
from bench.leaderboard.published.tables import published_tables
from bench.report.document import Chapter, Document, document
from bench.report.figures.spec import Chart
from bench.report.formats.text import escape, markdown_table, markdown_terms
from bench.report.glossary import INTRODUCTION, path_to_root
from bench.report.published_tables import published_markdown as published_markdown
from bench.report.published_tables import reproduction_commands
from bench.report.run_folder import read_presets, read_run, read_samples, report_sources
from bench.report.tables.ledger import ledger_table
from bench.report.tables.table import Table
from bench.report.write import USUAL, id_ood_pictures
from bench.runs.study.config import RunConfig

RESULTS = Path(__file__).parents[2] / "results"
SHOWN = ("leaderboard", "standings", "calibration ece")
"""The tables of a report that the page shows."""
FOLDED = ("choices",)
"""The tables of a report that the page shows folded."""
IN_FULL = ("vrf-table1", "carot-slides")
"""The published tables whose ledger is on the main page."""

BOARD = """\
[The board](index.html), to be opened in a browser, has all numbers in one table: choose suite,
model, protocol and metric, search and sort, with measured beside published rows. This page has what
the runs show, and the reproduction ledger.
"""
UNSET: Mapping[str, Any] = {"metrics": None, "tune": None, "trials": None}
"""Options that ``config.json`` has only where they are used."""

ABOUT = """\
## About this page

The project's own leaderboards, from committed records, next to published numbers. This page and
[published/](published/README.md) are written by

    python scripts/pages/results_page.py

from `results/*/records.jsonl` and `results/published/*.json`. Change those, then run the script; a
test fails if page and records differ. To add a leaderboard, add the folder of a finished run. The
command above each leaderboard repeats its run. `results/runs/` holds your own runs and is not
committed.

*Published* numbers are printed in papers, slides and listings, and copied digit by digit.
*Measured* numbers are ours. They are shown side by side for comparison; only the
[ledger](#reproduction-ledger) states whether one reproduces the other.
"""
ATTEMPT = """\
### How to attempt a reproduction

You need a machine with a GPU and the real data. `bench reproduce vrf-table1 --data DIR` does all in
stages: [docs/reproduce.md](../docs/reproduce.md) says what to expect of each.
[docs/published.md](../docs/published.md) describes what counts and within which tolerance,
[docs/datasets.md](../docs/datasets.md) how to get the data. The steps by hand:

    export BENCH_DATA=~/data
    bench data download --suite imagenet
    bench data status
{commands}

`bench submit RUN` puts what is needed of the run into `results/`; run
`python scripts/pages/results_page.py`, and the ledger includes it. For the commands for the other
tables, see [published/](published/README.md).
"""
PUBLISHED = """\
# Published tables

Every table of [results/published/](.) as printed, and the reproduction status of each cell
according to our committed records; [results/](../README.md) has the totals. This page is written
by `python scripts/pages/results_page.py`. [docs/published.md](../../docs/published.md) describes
how the tables were read, and their known errors. "Ours" in a label means the paper's authors.
"""
LEGEND = (
    "Numbers are means over the training seeds, ± the standard deviation over them, which is no "
    "interval. Behind a difference, its 95% interval stands in parentheses."
)
"""Explains numbers of runs with several seeds."""


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
        """The report of the run."""
        folder = RESULTS / self.name
        found = document(self.records, self.missing, self.presets, tuple(read_samples(folder)))
        return replace(found, root=path_to_root(folder))


def runs() -> tuple[Run, ...]:
    """Return every run in a folder of results/; runs in the layout of papers' tables come last."""
    found = []
    for path in RESULTS.glob("*/records.jsonl"):
        folder = path.parent
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        found.append(Run(folder.name, config, *read_run(folder), read_presets(folder)))
    return tuple(sorted(found, key=lambda run: (len(run.presets), run.name != "mini", run.name)))


def command(run: Run) -> str:
    """Return the command line that repeats a run."""
    usual, words = {**RunConfig().results(), **UNSET}, ["bench", "run"]
    for name in usual:
        value = run.config.get(name, usual[name])
        follows = name == "methods" and run.config["table"]
        if value == usual[name] or follows or (name, value) == ("precision", "fp32"):
            continue
        option = f"--{name.replace('_', '-')}"
        if name == "set":
            for method, settings in value.items():
                for key, setting in settings.items():
                    words += [option, f"{method}.{key}={setting}"]
        elif isinstance(value, bool):
            words.append(option if value else f"--no-{name}")
        else:
            words += [option, ",".join(map(str, value)) if isinstance(value, list) else str(value)]
    if any(not suite.startswith("mini") for suite in run.config["suite"]):
        words += ["--data", "DIR"]
    return shlex.join([*words, "--out", f"results/{run.name}"])


def pages() -> Mapping[Path, str]:
    """Return the text of every page by its path."""
    found = runs()
    statuses = entries(found)
    main, published = page(found, statuses), published_page(statuses)
    return {
        RESULTS / "README.md": main,
        RESULTS / "index.html": results_board.board(RESULTS, [run.name for run in found]),
        RESULTS / results_board.FINDINGS: markdown_page.page(main, RESULTS),
        RESULTS / "published" / "README.md": published,
        RESULTS / "published" / "index.html": markdown_page.page(published, RESULTS / "published"),
    }


def entries(found: Sequence[Run]) -> Mapping[str, tuple[LedgerEntry, ...]]:
    """Return the reproduction ledger of every published table, over all runs together.

    Raises RegressionError if cells would be reproduced by records without stored samples.
    """
    records = [record for run in found for record in run.records]
    missing = [absent for run in found for absent in run.missing]
    evidence = Evidence(records)
    for run in found:
        evidence.of(read_samples(RESULTS / run.name))
    ledgers = {
        name: ledger(table, records, missing, evidence=evidence)
        for name, table in published_tables().items()
    }
    if unverified := [e for same in ledgers.values() for e in same if e.verdict == "not verified"]:
        raise RegressionError(
            f"{len(unverified)} published cells would be reproduced by records without stored "
            "samples: commit the runs' samples/ with their records"
        )
    return ledgers


def page(found: Sequence[Run], statuses: Mapping[str, tuple[LedgerEntry, ...]]) -> str:
    """Return results/README.md."""
    parts = ["# Results", INTRODUCTION, BOARD, "## In short", _overview(found)]
    parts += ["## What the words mean", _terms(found), ABOUT]
    for run in found:
        parts += _run(run, {other.name: other for other in found})
    parts += results_elsewhere.parts()
    parts += _ledger(statuses)
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _overview(found: Sequence[Run]) -> str:
    lines = [
        f"- [{run.name}](#{markdown_page.anchor(_heading(run))}), on {escape(chapter.title)}: "
        f"{escape(chapter.summary)}"
        for run in found
        for chapter in run.document.chapters
    ]
    elsewhere = results_elsewhere.TITLE
    lines.append(f"- [{elsewhere}](#{markdown_page.anchor(elsewhere)}), not ranked with ours")
    return "\n".join([*lines, "- [Reproduction ledger](#reproduction-ledger)"])


def _terms(found: Sequence[Run]) -> str:
    """Return what the words of the overview mean: each term once, as its first run explains it."""
    terms = [term for run in found for chapter in run.document.chapters for term in chapter.terms]
    first = {term.name: term for term in reversed(terms)}
    ordered = [first[name] for name in dict.fromkeys(term.name for term in terms)]
    return markdown_terms(ordered, path_to_root(RESULTS))


def _heading(run: Run) -> str:
    form = f", in the layout of {run.presets[0].title}" if run.presets else ""
    return f"Measured: {run.name}{form}"


def _run(run: Run, runs: Mapping[str, Run]) -> Iterator[str]:
    """Yield a run's parts: command, findings, published numbers for comparison, and tables."""
    yield f"## {_heading(run)}"
    yield f"    {command(run)}"
    mini = "[docs/mini.md](../docs/mini.md) describes the suite: a small model on drawings."
    links = (
        f"[Report]({run.name}/report.md), [records]({run.name}/records.jsonl), "
        f"[config]({run.name}/config.json)."
    )
    yield " ".join((links, *((mini,) if run.config["suite"] == ["mini"] else ())))
    for chapter in run.document.chapters:
        yield f"### On {escape(chapter.title)}"
        yield from (f"> **{escape(text)}**" for text in (*chapter.warnings, *chapter.marks))
        yield escape(chapter.summary)
        if chapter.caveats:
            yield "\n".join(f"- Caveat: {escape(text)}" for text in chapter.caveats)
        for chart, name in _figures(run, chapter):
            yield f"![{escape(chart.title)}, {escape(chapter.title)}]({run.name}/{name})"
            yield escape(chart.caption)
        others = {name: other.document.chapters[0].numbers for name, other in runs.items()}
        found = findings(run.name, chapter.numbers, others)
        if chapter.numbers.board.has_deviations:
            yield LEGEND
        if sentences := [f"- {escape(text)}" for text in found]:
            yield "\n".join(sentences)
        yield from _beside(run, chapter)
        for table in chapter.tables:
            if table.name in SHOWN:
                yield f"#### {escape(table.caption)}"
                yield from _table(table)
        for table in chapter.tables:
            if table.name in FOLDED:
                yield _folded(table.caption, _table(table))


def _figures(run: Run, chapter: Chapter) -> Iterator[tuple[Chart, str]]:
    """Yield the figures of the page, with their file names in the run's folder."""
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
    """Yield comparisons of a run with published tables.

    These are the table in whose form the run is shown, and the tables of the run's own data sets.
    """
    names, suite = {preset.name for preset in run.presets}, chapter.numbers.board.suite
    for name, table in published_tables().items():
        other_data = name in names and suite not in table.suites
        content = side_by_side(table, chapter, other_data=other_data)
        if content is None:
            continue
        note = (
            "Data and model differ: compare which rows gain and lose; this is not a reproduction. "
            if other_data
            else "The same data sets, with the models named; the ledger shows what else differs. "
        )
        source = f"Published: [{escape(table.title)}](published/README.md#{name})."
        if other_data:
            yield f"#### {escape(content.caption)}"
            yield note + source
            yield from _table(content)
        else:
            yield _folded(content.caption, (note + source, *_table(content)))


def _ledger(found: Mapping[str, tuple[LedgerEntry, ...]]) -> Iterator[str]:
    """Yield the reproduction ledger: totals and reasons by table, and how to attempt a cell."""
    everything = [entry for same in found.values() for entry in same]
    counts = count_verdicts(everything)
    yield "## Reproduction ledger"
    yield (
        f"Of {len(everything):,} published cells in {len(found)} tables **{counts['reproduced']:,} "
        f"are reproduced** by the committed records, {counts['not reproduced']:,} are not "
        f"reproduced, and {counts['not attempted']:,} were not attempted. Difference rows are not "
        "counted, since they claim nothing beyond their two rows."
    )
    attempted = [name for name, same in found.items() if any(not e.reason for e in same)]
    if not attempted:
        yield (
            "None was attempted. A cell counts only if it was measured as it was claimed: on the "
            "same data, with the same model, row and protocol. Other numbers reproduce nothing, "
            "however well they agree."
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
    yield "For the other tables, printed and cell by cell, see [published/](published/README.md)."


def _sums(found: Mapping[str, tuple[LedgerEntry, ...]]) -> str:
    """Return a table: the numbers of cells by status, and the reasons for not attempting them."""
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
    """Return results/published/README.md."""
    listed = [f"- [{escape(table.title)}](#{name})" for name, table in published_tables().items()]
    parts = [PUBLISHED, "\n".join(listed)]
    for name, table in published_tables().items():
        content, counts = ledger_table(table, found[name]), count_verdicts(found[name])
        lines = [f"    {line}" for line in reproduction_commands(table)]
        sums = ", ".join(f"{number} {verdict}" for verdict, number in counts.items())
        parts += [f'<a id="{name}"></a>', published_markdown(table)]
        none = "No run is comparable with this table."
        parts += ["To attempt it:", "\n".join(lines)] if lines else [none]
        parts.append(_folded(f"{content.caption}: {sums}", (markdown_table(content),)))
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


if __name__ == "__main__":
    for one in runs():
        folder = RESULTS / one.name
        report_sources(folder).write(folder, USUAL)
        for name, picture in id_ood_pictures(one.document).items():
            write_atomic(folder / name, picture)
    write_atomic(results_elsewhere.path(RESULTS), results_elsewhere.picture())
    for path, text in pages().items():
        write_atomic(path, text.encode())
