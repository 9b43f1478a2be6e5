"""Tables of what others measured, curves and rows: marked as such, never ranked with our rows."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from bench.leaderboard.board import ID, MEAN, Scale, scale_of
from bench.leaderboard.published.baselines import same_data
from bench.leaderboard.published.clip_benchmark import ForeignRow
from bench.leaderboard.published.curves import (
    PublishedCurve,
    PublishedPoint,
    best_mean,
    published_curves,
    rule_picks,
)
from bench.leaderboard.published.tables import find_published_table
from bench.leaderboard.suite_results import SuiteResults
from bench.report.tables.table import DASH, Table, TableCell, TableLine, _align

CAPTION = "Measured elsewhere, not ranked"
NOTE = (
    "Published curves over alpha, not verified by us and no part of any rank or mean. A rule's "
    "alpha is what it picks on the published ID accuracies. These are of the test set, so it is a "
    "check of the curves' shape, not a result under a protocol."
)

BESIDE = (
    "Zero-shot accuracies that files of CLIP_benchmark state: not verified by us, in no rank, mean "
    "or test of ours. Prompts, class names and crops are its own."
)
OTHER_DATA = " This run did not use all images of each set, so the rows cannot be compared."


def foreign_table(numbers: SuiteResults, rows: Sequence[ForeignRow]) -> Table:
    """Return rows that others measured on a board's sets, one line a model; empty if none.

    Values are percentages. There is a mean only where all shifts of the board's mean are there.

    Examples
    --------
    >>> from bench.leaderboard.published.clip_benchmark import ForeignRow
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.report.tables.elsewhere import foreign_table
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> row = ForeignRow("ViT-B-32, openai", {"id": 0.63, "v2": 0.56}, ())
    >>> [item.text for item in foreign_table(results, [row]).groups[0][0].items]
    ['ViT-B-32, openai', '63.0', '56.0', '–', '–', '']
    """
    board, scale = numbers.board, scale_of("top1")
    places = (ID, *board.shifts)
    columns = ("Model, weights", "ID", *board.shifts)
    columns += ((board.over_shifts,) if board.averaged else ()) + ("Files",)
    lines = []
    for row in rows:
        texts = [scale.text(row.values[p]) if p in row.values else DASH for p in places]
        if board.averaged:
            is_whole = row.values.keys() >= set(board.over)
            mean = fmean(row.values[shift] for shift in board.over) if is_whole else None
            texts.append(DASH if mean is None else scale.text(mean))
        files = ", ".join(file.name for file in row.files)
        lines.append(TableLine(tuple(map(TableCell, (row.title, *texts, files)))))
    stated = dict.fromkeys(file.stated for row in rows for file in row.files)
    note = BESIDE + ("" if same_data(numbers) else OTHER_DATA)
    note += f" Files: {', '.join(stated)}." if stated else ""
    caption = f"{CAPTION}: CLIP_benchmark ({scale.unit})"
    align = "l" + "r" * (len(columns) - 2) + "l"
    return Table(caption, columns, align, (tuple(lines),) if lines else (), note, "beside")


def elsewhere_table(numbers: SuiteResults) -> Table:
    """Return the published curves of a board's suite, one line a curve; empty if data differ.

    Examples
    --------
    >>> from bench.leaderboard.suite_results import measured
    >>> from bench.report.tables.elsewhere import elsewhere_table
    >>> from bench.testing.fakes import fake_records
    >>> (results,) = measured(fake_records())
    >>> elsewhere_table(results).groups
    ()
    """
    board = numbers.board
    curves = [c for c in published_curves(board.suite) if c.covers(board.over)]
    shown = curves if board.over and board.averaged and same_data(numbers) else []
    return rules_table(shown, board.over, board.over_shifts)


def rules_table(curves: Sequence[PublishedCurve], shifts: Sequence[str], mean: str = MEAN) -> Table:
    """Return ID and the mean over `shifts` of each curve, at its ends and where each rule points.

    Values are percentages. The best mean is found on the shifts themselves: no rule can know it.

    Examples
    --------
    >>> from bench.leaderboard.published.curves import published_curves
    >>> from bench.report.tables.elsewhere import rules_table
    >>> table = rules_table(published_curves("imagenet")[:1], ["v2", "a"])
    >>> table.columns[1:5]
    ('ID at 0', 'OOD mean at 0', 'ID at 1', 'OOD mean at 1')
    """
    rules = tuple(rule_picks(curves[0])) if curves else ()
    columns = ("Curve", *(f"{what} at {end}" for end in (0, 1) for what in ("ID", mean)))
    columns += tuple(f"{rule}: {what}" for rule in rules for what in ("alpha", "ID", mean))
    columns += (f"best {mean}: alpha", f"best {mean}")
    scale, lines = scale_of("top1"), []
    for curve in curves:
        texts = [curve.title]
        for point in (curve.points[0], curve.points[-1]):
            texts += _id_and_mean(scale, point, shifts)
        for point in rule_picks(curve).values():
            texts += [f"{point.alpha:g}", *_id_and_mean(scale, point, shifts)]
        best = best_mean(curve, shifts)
        texts += [f"{best.alpha:g}", scale.text(best.ood(shifts))]
        lines.append((curve.table, TableLine(tuple(map(TableCell, texts)))))
    groups = []
    for name in dict.fromkeys(name for name, _ in lines):
        head = TableLine((TableCell(find_published_table(name).title),), "head")
        groups.append((head, *(line for of, line in lines if of == name)))
    caption = f"{CAPTION}: curves over alpha ({scale.unit})"
    return Table(caption, columns, _align(columns, 1), tuple(groups), NOTE, "elsewhere")


def points_table(curve: PublishedCurve, shifts: Sequence[str]) -> Table:
    """Return every point of a curve: alpha, ID, each of `shifts` and their mean, in percent.

    Examples
    --------
    >>> from bench.leaderboard.published.curves import published_curves
    >>> from bench.report.tables.elsewhere import points_table
    >>> points_table(published_curves("imagenet")[0], ["v2", "a"]).columns
    ('Alpha', 'ID', 'v2', 'a', 'OOD mean')
    """
    scale, columns = scale_of("top1"), ("Alpha", "ID", *shifts, MEAN)
    lines = [
        (
            f"{point.alpha:g}",
            *(scale.text(point.values[place]) for place in (ID, *shifts)),
            scale.text(point.ood(shifts)),
        )
        for point in curve.points
    ]
    group = tuple(TableLine(tuple(map(TableCell, texts))) for texts in lines)
    return Table(f"{curve.title} ({scale.unit})", columns, _align(columns, 0), (group,))


def _id_and_mean(scale: Scale, point: PublishedPoint, shifts: Sequence[str]) -> list[str]:
    return [scale.text(point.values[ID]), scale.text(point.ood(shifts))]
