"""Results of a check for CI systems: JUnit XML and the summary of a CI job."""

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
"""The environment variable with the path of the Markdown summary on GitHub's runners."""
SHOWN = 100
"""The most rows in a summary: runners refuse summaries above one mebibyte."""
State = Literal["passed", "failed", "skipped"]
_MARKS: dict[State, str] = {"passed": "✓", "failed": "✗", "skipped": "–"}
_OF_LABELS = {"worse": "▼", "better": "▲"}
"""Marks of passed verdicts that have one of these labels."""
# The characters that XML 1.0 cannot hold, not even as character references.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Verdict:
    """The result of one check.

    Attributes
    ----------
    group, name : what was checked.
    state : the result.
    text : the reason, in words.
    label : a more specific word than the state for summaries: ``worse``, though not a failure.
    listed : whether summaries list it; otherwise they only count it.
    """

    group: str
    name: str
    state: State = "passed"
    text: str = ""
    label: str = ""
    listed: bool = True


def junit_xml(title: str, verdicts: Sequence[Verdict]) -> bytes:
    """Return the verdicts as JUnit XML: one suite with a test case per verdict.

    It contains no times or dates.
    """
    count = Counter(verdict.state for verdict in verdicts)
    numbers = {"tests": len(verdicts), "failures": count["failed"], "skipped": count["skipped"]}
    attributes = {"name": _xml_text(title), "errors": "0"}
    attributes |= {name: str(number) for name, number in numbers.items()}
    root = ElementTree.Element("testsuites", attributes)
    suite = ElementTree.SubElement(root, "testsuite", attributes)
    for verdict in verdicts:
        names = {"classname": _xml_text(verdict.group), "name": _xml_text(verdict.name)}
        case = ElementTree.SubElement(suite, "testcase", names)
        message = _xml_text(verdict.text)
        if verdict.state == "failed":
            ElementTree.SubElement(case, "failure", message=message).text = message
        elif verdict.state == "skipped":
            ElementTree.SubElement(case, "skipped", message=message)
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def summary_markdown(title: str, verdicts: Sequence[Verdict]) -> str:
    """Return a heading, the counts of the verdicts, and a table of at most `SHOWN` of them.

    Failures come first.
    """
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
    """Write JUnit XML to `file` if it is not None, and append to the CI job's summary if any.

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


def _xml_text(text: str) -> str:
    """Replace the characters that XML cannot hold."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _cell(text: str) -> str:
    """Escape text for one cell of a Markdown table."""
    plain = " ".join(_xml_text(text).split())
    return re.sub(r"([\\`*_|\[\]#~])", r"\\\1", plain).replace("&", "&amp;").replace("<", "&lt;")
