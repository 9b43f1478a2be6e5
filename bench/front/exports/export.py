"""`export`: what `import bench` offers to hand a row of a run to other tools."""

from __future__ import annotations

from pathlib import Path

from bench.core.errors import InputError
from bench.front.exports.classifier import SAFETENSORS, export_classifier
from bench.front.exports.outputs import export_outputs
from bench.front.exports.tables import write_records
from bench.front.functions import load
from bench.front.run import Run


def export(
    run: Run | str | Path,
    row: str | None = None,
    *,
    to: str | Path | None = None,
    format: str | None = None,
    outputs: bool = False,
    records: str | Path | None = None,
    seed: int | None = None,
    suite: str | None = None,
    data: str | Path | None = None,
    cache_dir: str | Path | None = None,
) -> tuple[Path, ...]:
    """Write a row's classifier or outputs, or all records: ``bench export`` in Python.

    Parameters
    ----------
    run : a run, or its folder.
    row : ``METHOD`` or ``METHOD:BASE``; None for the records alone.
    to : the output folder; by default ``results/exports/RUN/ROW``.
    format : ``safetensors``, the default, or ``open-clip``.
    outputs : whether to write the row's outputs in place of its weights.
    records : a file for all records: .csv, .parquet or .arrow.
    seed, suite : needed only where the run has several.
    data, cache_dir : the run's folders, if they are not the default ones.

    Returns the paths of what was written. Raises InputError for what cannot be exported.

    Examples
    --------
    >>> import bench
    >>> run = bench.run(suite="micro", methods="zero-shot", shifts="v2", limit=20)
    >>> [path.name for path in bench.export(run, "zero-shot", to="mine", records="r.csv")]
    ['r.csv', 'mine']
    """
    if row is None and records is None:
        raise InputError("nothing to export: name a ROW of the run, or a file with --records")
    of_row = {"outputs": outputs or None, "format": format, "to": to, "seed": seed, "suite": suite}
    unused = [name for name, value in of_row.items() if value is not None]
    if row is None and unused:
        raise InputError(f"--{unused[0]} is for a row, but no ROW is named: correct the command")
    if outputs and format is not None:
        raise InputError(f"--outputs writes no weights, which --format {format} is for: drop one")
    found = run if isinstance(run, Run) else load(run, data=data, cache_dir=cache_dir)
    written = []
    if records is not None:
        written.append(write_records(Path(records), found.records))
    if row is not None:
        name = row.replace(":", "-") + ("-outputs" if outputs else "")
        usual = Path("results/exports") / found.path.resolve().name / name
        folder = usual if to is None else Path(to)
        if outputs:
            written.append(export_outputs(found, row, folder, seed, suite))
        else:
            form = format or SAFETENSORS
            written.append(export_classifier(found, row, folder, form, seed, suite))
    return tuple(written)
