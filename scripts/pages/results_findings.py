"""Findings about the committed runs, as sentences whose numbers are computed from the records.

A finding whose claim no longer holds raises a ValueError: then rewrite the sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import findings_carot
import findings_cifar10
import findings_mini
import findings_vrf
from results_numbers import Numbers

from bench.leaderboard.suite_results import SuiteResults

FINDINGS: Mapping[str, tuple[Callable[[Numbers], str], ...]] = {
    "cifar10": findings_cifar10.FINDINGS,
    "mini": findings_mini.FINDINGS,
    "max-val": findings_vrf.FINDINGS_MAX_VAL,
    "vrf-table1": findings_vrf.FINDINGS,
    "carot-slides": findings_carot.FINDINGS,
}
"""The findings by run name. Each raises a ValueError if its claim does not hold."""


def findings(
    run: str, measured: SuiteResults, others: Mapping[str, SuiteResults] | None = None
) -> Iterator[str]:
    """Yield the findings about the run of that name; nothing for other runs.

    Some compare with `others`, the results of further runs by name.
    """
    numbers = Numbers(measured, {name: Numbers(of) for name, of in (others or {}).items()})
    for finding in FINDINGS.get(run, ()):
        yield finding(numbers)
