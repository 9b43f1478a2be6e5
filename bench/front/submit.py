"""A finished run made a folder of ``results/``: what speaks against it, and its files."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.checks.submission import submission_faults
from bench.core.errors import InputError
from bench.core.paths import write_atomic
from bench.front.check import check
from bench.leaderboard import samples
from bench.report.document import document
from bench.report.glossary import path_to_root
from bench.report.run_folder import (
    CONFIG,
    MISSING,
    RECORDS,
    read_presets,
    read_run,
    read_samples,
    report_sources,
)
from bench.report.staging import finished_names, staged
from bench.report.write import USUAL, id_ood_pictures

KEPT = (CONFIG, RECORDS, MISSING)
"""What a folder of ``results/`` has of a run, beside samples; its reports are written anew."""


def submission_refusals(
    run: Path, data: Path | None = None, cache_dir: Path | None = None
) -> Iterator[str]:
    """Yield what speaks against committing a run, each in one line: first what its folder shows.

    If nothing does, its numbers are recomputed from the store. Raises InputError if it is no run,
    and DataError if stored outputs are missing.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.front.submit import submission_refusals
    >>> list(submission_refusals(Path("nowhere")))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: no records at nowhere/records.jsonl: ...
    """
    faults = submission_faults(run)
    yield from faults
    if not faults and (failure := check(run, data=data, cache_dir=cache_dir).failure):
        yield failure


def submission_remarks(run: Path) -> Iterator[str]:
    """Yield what is taken, but should be known: missing cells, and code that was changed.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import records_text
    >>> from bench.front.submit import submission_remarks
    >>> from bench.testing.fakes import fake_records
    >>> _ = Path("records.jsonl").write_text(records_text(fake_records()))
    >>> list(submission_remarks(Path(".")))
    []
    """
    records, missing = read_run(run)
    if missing:
        count = sum(cell.count for cell in missing)
        yield f"{count} numbers are missing and listed in {MISSING}: {missing[0].reason}"
    commits = {str(r.environment.get("commit")) for r in records}
    for commit in sorted(name for name in commits if name.endswith("-modified")):
        yield f"some of it was made with code that was changed since commit {commit[:12]}"


def check_new(to: Path) -> None:
    """Raise InputError if there is something at the place of a new folder.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.front.submit import check_new
    >>> check_new(Path("results/new"))
    """
    if finished_names(to) or (to.exists() and not to.is_dir()):
        raise InputError(f"{to} exists: choose another name with --to, or remove it first")


def write_submission(run: Path, to: Path) -> None:
    """Write the files of a run that ``results/`` takes into the new folder `to`.

    These are configuration, records, missing cells and samples, and the usual reports and the
    figure `id-ood` of these. Raises InputError if there is something at `to` already.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.core.records import records_text
    >>> from bench.front.submit import write_submission
    >>> from bench.testing.fakes import fake_records
    >>> _ = Path("run").mkdir(), Path("run/records.jsonl").write_text(records_text(fake_records()))
    >>> write_submission(Path("run"), Path("results/mine"))
    >>> sorted(path.name for path in Path("results/mine").iterdir())
    ['id-ood.svg', 'records.jsonl', 'report.html', 'report.md']
    """
    check_new(to)
    with staged(to) as new:
        for name in (*KEPT, *samples.sample_files(run)):
            if (run / name).is_file():
                (new / name).parent.mkdir(exist_ok=True)
                shutil.copyfile(run / name, new / name)
        report_sources(new).write(new, USUAL, path_to_root(to))
        records, missing = read_run(new)
        whole = document(records, missing, read_presets(new), tuple(read_samples(new)))
        for name, picture in id_ood_pictures(whole).items():
            write_atomic(new / name, picture)
