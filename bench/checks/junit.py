"""What a check found, for machines that show it: JUnit's XML, and the summary of a CI job."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from bench.core.errors import InputError
from bench.core.paths import write_atomic

SUMMARY = "GITHUB_STEP_SUMMARY"
"""The environment variable that names a file to which GitHub's runners let jobs append Markdown."""
SHOWN = 100
"""Rows of a summary at most: runners refuse summaries above a mebibyte."""
State = Literal["passed", "failed", "skipped"]
_MARKS: dict[State, str] = {"passed": "✓", "failed": "✗", "skipped": "–"}
_OF_LABELS = {"worse": "▼", "better": "▲"}
"""Marks of labels that are no plain pass."""
# What XML 1.0 cannot hold, not even as a character reference.
_UNFIT = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Verdict:
    """One checked thing: where it stands (`group`, `name`), its state, and why in words.

    `label` stands for the state in summaries, where that says too little: ``worse``, but no
    failure. What is not `listed` is only counted there.
    """

    group: str
    name: str
    state: State = "passed"
    text: str = ""
    label: str = ""
    listed: bool = True


def junit_xml(title: str, verdicts: Sequence[Verdict]) -> bytes:
    """The verdicts as JUnit's XML: one suite, a test case each. No times and no dates."""
    count = Counter(verdict.state for verdict in verdicts)
    numbers = {"tests": len(verdicts), "failures": count["failed"], "skipped": count["skipped"]}
    attributes = {"name": _fit(title), "errors": "0"} | {k: str(v) for k, v in numbers.items()}
    root = ElementTree.Element("testsuites", attributes)
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    for verdict in verdicts:
        names = {"classname": _fit(verdict.group), "name": _fit(verdict.name)}
        case = ElementTree.SubElement(suite, "testcase", names)
        if verdict.state == "failed":
            ElementTree.SubElement(case, "failure", message=_fit(verdict.text)).text = _fit(
                verdict.text
            )
        elif verdict.state == "skipped":
            ElementTree.SubElement(case, "skipped", message=_fit(verdict.text))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def summary_markdown(title: str, verdicts: Sequence[Verdict]) -> str:
    """The verdicts as a heading, their counts and a table: failures first, `SHOWN` at most."""
    order = ("failed", "passed", "skipped")
    ordered = sorted(verdicts, key=lambda verdict: order.index(verdict.state))
    count = Counter(verdict.label or verdict.state for verdict in ordered)
    names = [*count] if any(verdict.label for verdict in ordered) else [*_MARKS]
    counts = ", ".join(f"{count[name]} {name}" for name in names)
    listed = [verdict for verdict in ordered if verdict.listed]
    rows = [
        f"| {_mark(v)} | {_cell(v.group)} | {_cell(v.name)} | {_cell(v.text)} |"
        for v in listed[:SHOWN]
    ]
    more = [f"\n{len(listed) - SHOWN} more are not shown."] if len(listed) > SHOWN else []
    head = ["| | Where | What | Found |", "|:-:|:--|:--|:--|"]
    table = ["", *head, *rows] if rows or not ordered else []
    return "\n".join((f"### {_cell(title)}", "", _cell(counts), *table, *more)) + "\n\n"


def _mark(verdict: Verdict) -> str:
    plain = _MARKS[verdict.state]
    return _OF_LABELS.get(verdict.label, plain) if verdict.state == "passed" else plain


def publish_verdicts(title: str, verdicts: Sequence[Verdict], file: Path | None) -> None:
    """Write JUnit's XML to `file`, if any, and append to the job's summary, if there is one.

    Raises InputError if one of them cannot be written.
    """
    if file is not None:
        try:
            write_atomic(file, junit_xml(title, verdicts))
        except OSError as error:
            raise InputError(f"--junit {file}: cannot be written: {error}") from error
    if name := os.environ.get(SUMMARY):
        try:
            with Path(name).open("a", encoding="utf-8") as summary:
                summary.write(summary_markdown(title, verdicts))
        except OSError as error:
            raise InputError(f"${SUMMARY}={name}: cannot be written: {error}") from error


def _fit(text: str) -> str:
    return _UNFIT.sub("\N{REPLACEMENT CHARACTER}", text)


def _cell(text: str) -> str:
    """Text that stays in its cell of a Markdown table and is no markup."""
    plain = " ".join(_fit(text).split())
    return re.sub(r"([\\`*_|\[\]#~])", r"\\\1", plain).replace("&", "&amp;").replace("<", "&lt;")
