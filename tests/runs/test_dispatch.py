"""What is sent to workers, and what their end costs: with an executor in this process."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from commands import assert_refused, bench

from bench.core.errors import DataError, InputError
from bench.core.progress import SilentProgress
from bench.front.executors.worker import carry_out_job
from bench.front.options import config_of
from bench.runs.execution.dispatch import Dispatcher
from bench.runs.execution.execute import Outcome
from bench.runs.execution.job_progress import JobProgress, job_name, work_by_job
from bench.runs.execution.jobs import LOGS, Job, JobResult, Submitted
from bench.runs.execution.states import JOBS, JobBook, JobState, RunJobs, read_jobs
from bench.runs.session import Session, prepare_session, run_session


@dataclass
class Here:
    """Carries out jobs in this process, after `change` had its way with them."""

    change: Callable[[Job], JobResult] = carry_out_job
    slots: int = 2
    name: str = "here"
    least: int = 2
    processes: int = 1
    jobs: list[Job] = field(default_factory=list)

    def submit(self, jobs: Sequence[Job]) -> list[Submitted]:
        self.jobs += jobs
        return [Submitted(lambda: True, lambda job=job: self.change(job)) for job in jobs]  # type: ignore[misc]

    def close(self) -> None:
        pass


def prepared(folder: Path, **options: Any) -> Session:
    small = {"suite": "micro", "limit": 20, "shifts": "v2", "methods": "ose", "curves": False}
    places = {"out": folder / "out", "cache_dir": folder / "cache"}
    return prepare_session(config_of(small | {"set": {"e2e-ft": {"epochs": 1}}} | places | options))


def carried_out(folder: Path, executor: Here, **options: Any) -> Outcome:
    session = prepared(folder, **options)
    (outcome,), _ = run_session(session, lambda: nullcontext(SilentProgress()), executor)
    return outcome


def test_each_item_goes_once_and_only_keys_travel(tmp_path: Path) -> None:
    executor = Here()
    outcome = carried_out(tmp_path, executor)
    assert not outcome.missing
    sent = [key for job in executor.jobs for key in job.keys]
    assert sorted(set(sent)) == sorted(sent)
    assert {type(job.keys) for job in executor.jobs} == {tuple}
    assert {job.on_device for job in executor.jobs} == {True, False}
    more, jobs = Here(), read_jobs(tmp_path / "out")
    carried_out(tmp_path, more)
    assert not more.jobs and read_jobs(tmp_path / "out") == jobs


def test_only_what_needs_a_device_is_shared_by_processes(tmp_path: Path) -> None:
    executor = Here(lambda job: carry_out_job(replace(job, processes=1)), processes=3)
    assert not carried_out(tmp_path, executor).missing
    assert {(job.on_device, job.processes) for job in executor.jobs} == {(True, 3), (False, 1)}


def test_a_worker_lost_again_and_again_costs_its_items_and_what_needs_them(tmp_path: Path) -> None:
    def change(job: Job) -> JobResult:
        if job.label.startswith("train"):
            raise RuntimeError("killed by signal 9")
        return carry_out_job(job)

    executor = Here(change)
    outcome = carried_out(tmp_path, executor)
    assert sum(job.label.startswith("train") for job in executor.jobs) == 3
    assert {cell.method for cell in outcome.missing} == {"e2e-ft", "ose"}
    assert {cell.reason for cell in outcome.missing} == {
        "its worker was lost 3 times: RuntimeError: killed by signal 9"
    }
    assert {record.method for record in outcome.records} == {"zero-shot"}
    reasons = {j.reason for j in read_jobs(tmp_path / "out").jobs if j.state == "lost"}
    assert any("signal 9" in reason for reason in reasons)


def test_a_machine_whose_workers_share_a_split_may_be_lost(tmp_path: Path) -> None:
    """It costs all its workers at once, which counts as one loss of each item."""
    lost: list[Job] = []

    def change(job: Job) -> JobResult:
        if job.label.startswith("features of micro/val") and len(lost) < 4:
            lost.append(job)
            raise RuntimeError("the node is gone")
        return carry_out_job(job)

    executor = Here(change, slots=8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Dispatcher, "_jobs", shared(Dispatcher._jobs))
        outcome = carried_out(tmp_path, executor, methods="zero-shot")
    assert len(lost) == 4 and not outcome.missing


def shared(real: Callable[..., list[Job]]) -> Callable[..., list[Job]]:
    """Have four workers share the features of a split, as a large one's."""

    def jobs(*given: Any) -> list[Job]:
        found = real(*given)
        return [job for job in found for _ in range(4 if job.label.startswith("feat") else 1)]

    return jobs


def test_a_worker_that_stores_nothing_is_not_asked_for_ever(tmp_path: Path) -> None:
    executor = Here(lambda job: JobResult())
    outcome = carried_out(tmp_path, executor, methods="zero-shot")
    assert not outcome.records and len(executor.jobs) <= 2 * 11
    assert "not there after 10 tries" in {cell.reason for cell in outcome.missing}


@pytest.mark.parametrize("kind", [InputError, DataError])
def test_what_is_wrong_with_the_input_ends_the_run_with_its_code(
    kind: type[InputError | DataError], tmp_path: Path
) -> None:
    executor = Here(lambda job: JobResult(error=(kind.exit_code, "image 3 is cut")))
    with pytest.raises(kind, match="image 3 is cut"):
        carried_out(tmp_path, executor)
    assert len(executor.jobs) <= executor.slots


def test_a_worker_of_another_version_says_so(tmp_path: Path) -> None:
    other = Here(lambda job: carry_out_job(replace(job, keys=("1f0c",))))
    with pytest.raises(InputError, match="has no item 1f0c: it has another version of bench"):
        carried_out(tmp_path, other)


def test_a_worker_without_the_runs_folder_says_so(tmp_path: Path) -> None:
    def elsewhere(job: Job) -> JobResult:
        gone = replace(job.context, folder=str(tmp_path / "nowhere"))
        return carry_out_job(replace(job, context=gone))

    with pytest.raises(InputError, match=r"nowhere, where the run was started, is not on"):
        carried_out(tmp_path, Here(elsewhere))


def test_failures_name_their_reason(tmp_path: Path) -> None:
    diverging = {"e2e-ft": {"epochs": 1, "lr": 1e30}}
    outcome = carried_out(tmp_path, Here(), set=diverging)
    assert {cell.method for cell in outcome.missing} == {"e2e-ft", "ose"}
    (failed,) = [job for job in read_jobs(tmp_path / "out").jobs if job.state == "failed"]
    assert failed.label.startswith("train") and failed.reason
    assert failed.reason in {cell.reason for cell in outcome.missing}
    shown = bench("status", tmp_path / "out")
    assert "failed" in shown.out and failed.log in shown.out
    assert "Traceback" in Path(failed.log).read_text()


def test_a_run_without_jobs_and_a_bad_file_are_named(tmp_path: Path) -> None:
    assert_refused(bench("status", tmp_path), JOBS, "--executor")
    told = {"executor": "ray", "updated": "", "jobs": [{"label": "fit", "items": 1}]}
    impossible = [
        told | {"seconds": 1e300},
        told | {"work_left": -1},
        *(told | {"jobs": [told["jobs"][0] | {"share": share}]} for share in (2.5, math.nan)),
    ]
    for text in ("[]", "{", '{"executor": 3}', "\xff", *map(json.dumps, impossible)):
        (tmp_path / JOBS).write_text(text)
        assert_refused(bench("status", tmp_path), JOBS)


def test_status_is_a_line_for_each_job(tmp_path: Path) -> None:
    jobs = (JobState(label="fit\nvrf", items=1, state="wai\nting"),)
    found = RunJobs(executor="ray\nx", updated="", jobs=jobs)
    (tmp_path / JOBS).write_text(found.model_dump_json())
    lines = bench("status", tmp_path).out.splitlines()
    assert len(lines) == 4 and lines[0].startswith("ray x") and lines[3].startswith("wai ting")
    (tmp_path / JOBS).write_text(found.model_copy(update={"jobs": ()}).model_dump_json())
    assert "0 jobs: none was sent" in bench("status", tmp_path).out


def test_how_far_a_job_is_reaches_the_display_and_the_status(tmp_path: Path) -> None:
    """A worker reports while it works; the run adds that up, and never more than the job has."""
    folder, steps = tmp_path / "out" / LOGS, list[int]()

    class Shown(SilentProgress):
        def advance(self, count: int) -> None:
            steps.append(count)

    class Slow(Here):
        def submit(self, jobs: Sequence[Job]) -> list[Submitted]:
            return [Submitted(self.looks(job), partial(carry_out_job, job)) for job in jobs]

        def looks(self, job: Job) -> Callable[[], bool]:
            """Two looks at a job that works, each with a report, of more than there is at last."""
            reports = iter([(10, False), (10**9, False)])

            def look() -> bool:
                count, is_done = next(reports, (0, True))
                progress = JobProgress(folder, job.keys)
                progress._written -= 2
                progress.did(count)
                return is_done

            return look

    session = prepared(tmp_path)
    work = session.work()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobBook, "is_due", lambda book: True)
        run_session(session, lambda: nullcontext(Shown()), Slow())
    assert sum(steps) == pytest.approx(work, abs=len(steps)) and min(steps) >= 0
    found = read_jobs(tmp_path / "out")
    assert found.work_left == 0 and found.seconds_left == 0 and found.seconds > 0
    assert found.work_done == pytest.approx(work, abs=len(found.jobs))
    assert {job.share for job in found.jobs} == {1.0}


def test_what_a_lost_worker_did_is_to_come_again_until_it_is_done(tmp_path: Path) -> None:
    """It may have stored a part, so that the job which does the rest is smaller."""
    left, lost = list[float](), list[str]()
    real = JobBook.did

    def did(book: JobBook, work: float) -> None:
        real(book, work)
        left.append(book.work_left)

    def change(job: Job) -> JobResult:
        if job.label.startswith("features of micro/test") and not lost:
            lost.append(job.label)
            carry_out_job(job)
            raise RuntimeError("killed after it had stored all")
        return carry_out_job(job)

    session, executor = prepared(tmp_path), Here(change)
    work = session.work()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JobBook, "did", did)
        patch.setattr(Dispatcher, "_note", lambda *_: None)
        run_session(session, lambda: nullcontext(SilentProgress()), executor)
    assert lost and min(left) >= 0 and max(left) <= work
    found = read_jobs(tmp_path / "out")
    assert found.work_left == 0 and {job.state for job in found.jobs} == {"lost", "done"}
    assert {job.share for job in found.jobs if job.state == "lost"} == {0.0}


def test_reports_of_workers_that_are_none_are_left_out(tmp_path: Path) -> None:
    progress = JobProgress(tmp_path, ("key",))
    with progress.task("features", 10, work=2.0) as task:
        task.advance(3)
        assert work_by_job(tmp_path) == {}  # too early for a report
        progress._written -= 2
        task.advance(2)
    assert work_by_job(tmp_path) == {job_name(("key",)): 10.0}
    for name, text in {"a": "{", "b": "[]", "c": '{"job": 3, "work": 1}', "d": "null"}.items():
        (tmp_path / f"{name}.progress").write_text(text)
    (tmp_path / "e.progress").write_text('{"job": "x", "work": -1}')
    (tmp_path / "f.progress").mkdir()
    assert work_by_job(tmp_path) == {job_name(("key",)): 10.0}
    progress.end()
    assert work_by_job(tmp_path) == {}


def test_status_says_what_is_done_and_to_come(tmp_path: Path) -> None:
    book = JobBook(tmp_path, "ray", [JobState(label="train 1 of 2", items=1, state="running")])
    book.work_left, book.jobs[0].share = 4000.0, 0.25
    book.write()
    shown = bench("status", tmp_path).out
    assert "0 forward passes done in 0 s, 4,000 left\n" in shown and "25%" in shown
    book.did(1000.0)
    book._begun -= 60
    book.write()
    shown = bench("status", tmp_path).out
    assert "1,000 forward passes done in 60 s, 3,000 left: about 180 s at this pace" in shown
