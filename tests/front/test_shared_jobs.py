"""Jobs that several processes compute together, as on several GPUs."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from commands import start
from same_weights import assert_same_weights
from worker_runs import ONE_THREAD, RUN, is_alive, ranks_of, run, wait_for, workers

from bench.core.errors import CellError, InputError
from bench.core.records import read_records
from bench.core.store.claims import this_process
from bench.front.executors.choice import chosen_executor
from bench.front.executors.local import LocalExecutor
from bench.front.executors.together import JOB, RESULT, _ended, carry_out_together
from bench.runs.execution.jobs import Job, JobContext
from bench.runs.execution.states import read_jobs


@pytest.mark.slow
def test_processes_that_share_a_job_give_the_numbers_of_one(tmp_path: Path) -> None:
    """To 1e-4, also if one of them or their worker is killed: all end, the job goes again."""
    command = (*RUN[:-8], "--methods", "e2e-ft", "--set", "e2e-ft.epochs=2", "--device", "cpu")
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    assert run(alone, command=command).returncode == 0
    process = start(
        *(*command, "--out", shared / "out", "--cache-dir", shared / "cache"),
        *("--executor", "local:1,processes=2"),
        env=ONE_THREAD,
    )
    for victim in ("a rank", "the worker"):
        ranks = wait_for(lambda: len(found := ranks_of(process)) == 2 and found)
        (ranks[1] if victim == "a rank" else wait_for(lambda: workers(process))[0]).kill()
        wait_for(lambda found=ranks: not any(map(is_alive, found)), 90)
    _, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert err.count("a worker was lost") == 2
    states = {job.state for job in read_jobs(shared / "out").jobs}
    assert states == {"lost", "done"}
    one, two = (read_records(folder / "out" / "records.jsonl") for folder in (alone, shared))
    assert [r.value for r in two] == pytest.approx([r.value for r in one], abs=1e-4)
    assert_same_weights(alone / "cache", shared / "cache", at_least=1)


def test_each_process_of_a_job_has_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    executor = LocalExecutor(2, ["0", "1", "2", "3"], processes=2)
    visible = [own["CUDA_VISIBLE_DEVICES"] for own in executor._own]
    assert visible == ["0,1", "2,3"] and executor.name == "local:2,processes=2"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3,4,5")
    with chosen_executor("local:processes=3", "auto", tmp_path) as found:
        assert found is not None and (found.slots, found.processes) == (2, 3)
    with (
        pytest.raises(InputError, match="this machine has 6 GPUs"),
        chosen_executor("local:processes=7", "auto", tmp_path),
    ):
        pass


def test_the_folders_of_killed_workers_go_with_the_next_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job may run for days, so its age does not make a folder nobody's."""
    (host, pid), ended = this_process(), subprocess.Popen(["true"])
    ended.wait()
    made: list[str] = []

    def popen(command: Sequence[str], **_: object) -> None:
        assert Path(command[-1], JOB).is_file()
        made.append(Path(command[-1]).name)
        raise OSError("no processes")

    def next_job() -> None:
        with pytest.raises(OSError, match="no processes"):
            carry_out_together(Job(JobContext("{}", ".", "logs"), 0, ("a",), "fits", True, 2))

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(subprocess, "Popen", popen)
    next_job()
    assert not list(tmp_path.iterdir())
    left = made[0].replace(f"-{pid}-", f"-{ended.pid}-")  # as if that process had been killed
    kept = [left.replace(host, "elsewhere"), *made, "bench-job-x", f"bench-job-{host}-x"]
    for name in (left, *kept):
        (tmp_path / name).mkdir()
        (tmp_path / name / JOB).touch()
        os.utime(tmp_path / name, (0, 0))
    next_job()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


def test_processes_without_a_result_fail_the_job(tmp_path: Path) -> None:
    """As after the end of one by a signal; bench's last line is the reason."""
    said = "torch: noise\nbench: process 1: gone\nTraceback\n"
    with pytest.raises(CellError, match=r"ended without a result: process 1: gone$"):
        _ended(tmp_path, said)
    (tmp_path / RESULT).write_text('{"failed": {"a": "diverged"}, "error": null}')
    assert _ended(tmp_path, said) == ({"a": "diverged"}, None)
