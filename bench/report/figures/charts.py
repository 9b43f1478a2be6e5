"""All figures of a report."""

from __future__ import annotations

from collections.abc import Sequence

from altair.utils.schemapi import debug_mode

from bench.leaderboard.published.baselines import Baseline
from bench.leaderboard.suite_results import SuiteResults
from bench.report.figures.calibration import calibration_charts
from bench.report.figures.cost import cost_chart
from bench.report.figures.differences import difference_chart
from bench.report.figures.distance import distance_charts
from bench.report.figures.reliability import reliability_chart
from bench.report.figures.scatter import id_ood
from bench.report.figures.spec import Chart


def charts(numbers: SuiteResults, baselines: Sequence[Baseline] = ()) -> tuple[Chart, ...]:
    """Return the figures of a chapter.

    A figure without data is included only if its absence needs a reason. The specifications are
    not validated here, which would take half a second; tests do that.
    """
    with debug_mode(False):
        found = [
            id_ood(numbers, baselines),
            difference_chart(numbers),
            *calibration_charts(numbers),
            reliability_chart(numbers),
            *distance_charts(numbers),
            cost_chart(numbers),
        ]
    return tuple(chart for chart in found if chart is not None)
