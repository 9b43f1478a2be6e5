"""Whether a run may be committed to ``results/``: what its folder shows without data and cache.

``bench check RUN`` recomputes a run from stored features. A folder that somebody else submits has
none: what can be checked there is whether records follow from the samples beside them and reports
from the records, whether the run is complete and says how it was made, and whether it holds what
is nobody's business.
"""

from __future__ import annotations

import getpass
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.api.metrics import ACCURACY, OWN
from bench.api.protocol import PROTOCOLS
from bench.api.registry import datasets
from bench.checks.differences import text_differences
from bench.core.errors import DataError, shortened
from bench.core.foreign.documents import parse_json
from bench.core.foreign.files import TABLE, read_regular, text_of
from bench.core.records import CellAddress, MissingCell, Record
from bench.data.suites.corruptions import parse_corruptions
from bench.leaderboard.comparability import row_name
from bench.leaderboard.published.evidence import ECE, Evidence
from bench.leaderboard.samples import FOLDER, sample_files
from bench.report.glossary import linked_root
from bench.report.run_config import read_config
from bench.report.run_folder import (
    CONFIG,
    MISSING,
    RECORDS,
    read_run,
    read_samples,
    report_sources,
)
from bench.report.write import USUAL

SUPPORTED = frozenset({ACCURACY.name, ECE.name, *OWN})
"""The metrics of a cell that follow from stored samples."""
EXAMPLES = "docs/examples/"
"""Where the repository has suite files of its own."""
OWN_FILES = {"plugin": "a plugin", "templates": "a file of templates"}
"""Options that name a file which others do not have."""
PICTURE = re.compile(r"id-ood(?:-\d+)?\.svg")
"""The names of a folder's figures."""
PRIVATE = {
    "an absolute path": r"(?<![\w./~+)-])(?:~(?:[A-Za-z]\w*)?|/[^\s/:\"']+)/[^\s/:\"']+"
    r"|\b[A-Za-z]:\\\w|\\\\\w|\bfile:/|(?<![\w./~-])/(?:home|root|scratch|Users)\b",
    "an address of a store": r"\b(?:s3|gs|az|abfss?|hdfs)://",
    "an e-mail address": r"\b[\w.+-]+@(?![0-9a-f]{12}\.)[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}\b",
    "a credential": r"\bAKIA[0-9A-Z]{16}\b|\b(?:hf|ghp|gho|ghs|github_pat)_\w{16,}"
    r"|\b(?:sk|glpat)-[\w-]{16,}|\beyJ[\w-]+\.eyJ|://[^/\s:@]+:[^/\s@]+@",
}
"""What no committed file may hold, as patterns of a text in it."""


def submission_faults(run: Path) -> tuple[str, ...]:
    """Return why a run's folder would not be taken into ``results/``, each reason in one line.

    Raises InputError if it is no run.
    """
    records, missing = read_run(run)
    checks = (
        _of_configuration(run),
        _of_records(records),
        _of_cells(records, missing),
        _of_samples(run, records),
        _private(run),
    )
    return tuple(fault for found in checks for fault in found)


def report_faults(run: Path) -> tuple[str, ...]:
    """Return which of the usual reports do not follow from the records beside them."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        names = [f"report.{suffix}" for suffix in USUAL]
        there = [read_regular(run / name) for name in names if (run / name).is_file()]
        root = next(filter(None, map(linked_root, there)), "")
        report_sources(run).write(Path(scratch), USUAL, root)
        for name in names:
            if not (run / name).is_file():
                found.append(f"{name} is missing: write it with bench report")
            elif differing := next(iter(text_differences(run / name, Path(scratch) / name)), None):
                found.append(f"it does not follow from {RECORDS}: {shortened(str(differing), 300)}")
    return (*found, *_of_files(run, names))


def _of_files(run: Path, reports: list[str]) -> Iterator[str]:
    """Yield what lies in a folder and is no file of ``results/``: nobody has looked at it."""
    known = {CONFIG, RECORDS, MISSING, *reports, FOLDER, *sample_files(run)}
    places = (path.relative_to(run).as_posix() for path in sorted(run.rglob("*")))
    other = [name for name in places if name not in known and not PICTURE.fullmatch(name)]
    if other:
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        yield f"it has files that {RECORDS} does not need: {other[0]:.100}{more}: remove them"


def _of_configuration(run: Path) -> Iterator[str]:
    """Yield the inputs of a run that others do not have."""
    config = read_config(run)
    for name in config.get("suite", ()):
        plain, _ = parse_corruptions(str(name))
        if plain.partition("=")[0] not in datasets() and not plain.startswith(EXAMPLES):
            yield f"suite {shortened(plain, 100)} is not one of bench, so that nobody can repeat it"
    for name, what in OWN_FILES.items():
        if config.get(name):
            yield f"the run used {what} of your own (--{name}), so that nobody can repeat it"


def _of_records(records: list[Record]) -> Iterator[str]:
    """Yield marks, protocols and unknown origins of records."""
    if not records:
        yield f"{RECORDS} has no records"
    for protocol in sorted({record.protocol for record in records}):
        base, *changes = protocol.split(", ")
        if base not in PROTOCOLS or any(not change.startswith("rule ") for change in changes):
            valid = f"expected {' or '.join(PROTOCOLS)}, with no other change than --select"
            yield f"protocol {shortened(repr(protocol), 100)}: {valid}"
    for note in sorted({note for record in records for note in record.notes}):
        yield f"its numbers are marked as not reportable: {note}"
    foreign = {row_name(record): kind for record in records for kind in _foreign(record)}
    for row, kind in sorted(foreign.items()):
        which = f"row {row:.100} is computed by {shortened(kind, 100)}"
        yield f"{which}, which is not of bench, so that nobody can repeat it"
    unknown = {part for record in records if record.kind == "cell" for part in _unknown(record)}
    for part in sorted(unknown):
        yield f"its records do not say with which {part} they were made: run it again"


def _foreign(record: Record) -> Iterator[str]:
    """Yield the classes of plugins that made a record: their names have the module before them."""
    for part in ("method", "base"):
        made = record.provenance.get(part)
        yield from (kind for kind in _kinds(made) if "." in kind)


def _kinds(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from [str(value["type"])] if "type" in value else ()
        for inner in value.values():
            yield from _kinds(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _kinds(inner)


def _unknown(record: Record) -> Iterator[str]:
    """Yield what a record does not say of how it was made; oracles are derived from others."""
    if record.role == "oracle":
        return
    versions = record.environment.get("versions")
    if not (isinstance(versions, dict) and versions.get("bench")):
        yield "version of bench"
    if not record.environment.get("hardware"):
        yield "hardware"


def _of_cells(records: list[Record], missing: list[MissingCell]) -> Iterator[str]:
    """Yield rows that lack a seed or a set that others have, unless ``missing.jsonl`` lists it."""
    cells = [record for record in records if record.kind == "cell" and record.role != "oracle"]
    places: dict[tuple[str, str, str], set[str]] = {}
    seeds: dict[tuple[str, str, str], set[int]] = {}
    for cell in (*cells, *missing):
        board = (cell.suite, cell.model, cell.protocol)
        places.setdefault(board, set()).add(cell.shift)
        seeds.setdefault(board, set()).update(() if cell.seed is None else (cell.seed,))
    known = {_place(cell) for cell in (*cells, *missing)}
    rows = dict.fromkeys((place[0], place[1]) for place in map(_place, cells))
    for board, row in rows:
        own = {seed for b, r, seed, _ in known if (b, r) == (board, row)}
        wanted: set[int | None] = own if None in own else {*seeds[board]}
        absent = [
            f"{row} on {shift}" + ("" if seed is None else f", seed {seed}")
            for seed in sorted(wanted, key=str)
            for shift in sorted(places[board])
            if (board, row, seed, shift) not in known
        ]
        if absent:
            more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
            yield f"neither measured nor listed in {MISSING}: {absent[0]}{more}"


def _place(cell: CellAddress) -> tuple[tuple[str, str, str], str, int | None, str]:
    return (cell.suite, cell.model, cell.protocol), row_name(cell), cell.seed, cell.shift


def _of_samples(run: Path, records: list[Record]) -> Iterator[str]:
    """Yield how many numbers the samples of the run do not support."""
    evidence = Evidence(records)
    try:
        evidence.of(read_samples(run))
    except DataError as error:
        yield str(error)
        return
    bare = [
        record
        for record in records
        if record.kind == "cell" and record.role != "oracle" and not record.notes
        if record.metric in SUPPORTED and record not in evidence
    ]
    if bare:
        first = f"{bare[0].metric} of {row_name(bare[0])} on {bare[0].shift}"
        yield f"{len(bare)} numbers do not follow from samples/, such as {first}"


def _private(run: Path) -> Iterator[str]:
    """Yield what the committed files would tell of a machine or of who uses it."""
    patterns = {what: re.compile(pattern) for what, pattern in PRIVATE.items()}
    if own := _own_names():
        patterns["the name of this machine or of its user"] = re.compile("|".join(own))
    for name in (CONFIG, RECORDS, MISSING):
        found: dict[str, str] = {}
        for text in _texts_of(run / name):
            for what, pattern_ in patterns.items():
                if what not in found and pattern_.search(text):
                    found[what] = text
        for what, text in found.items():
            advice = "; give a relative path and run again" if "path" in what else ""
            yield f"{name} holds {what}: {shortened(text, 100)!r}{advice}"


def _own_names() -> list[str]:
    """Patterns for the name of this machine, if it is no usual word, and for its user at any."""
    whole = socket.gethostname()
    hosts = {name for name in (whole, whole.partition(".")[0]) if re.search(r"[\d.-]", name)}
    found = [rf"(?<![\w-]){re.escape(name)}(?![\w-])" for name in sorted(hosts)]
    with suppress(OSError, KeyError):
        found.append(rf"(?<![\w-]){re.escape(getpass.getuser())}@\w")
    return found


def _texts_of(path: Path) -> Iterator[str]:
    """Yield each text in a file of JSON or JSON lines, names of fields too."""
    if not path.is_file():
        return
    content = text_of(path, TABLE)
    for line in [content] if path.name == CONFIG else content.splitlines():
        yield from _texts(parse_json(line))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
