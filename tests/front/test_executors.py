"""Workers give the results of one process, whoever is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from commands import SAME_BENCH, assert_refused, bench, contents, start
from outputs_folders import folder, score

import bench as bench_package
from bench.core.errors import DataError, InputError
from bench.core.progress import SilentProgress
from bench.front.executors.choice import chosen_executor
from bench.front.executors.local import LocalExecutor
from bench.front.executors.worker import carry_out_job
from bench.front.options import config_of
from bench.runs.execution.dispatch import Dispatcher
from bench.runs.execution.execute import Outcome
from bench.runs.execution.jobs import Job, JobContext, JobResult, Submitted
from bench.runs.execution.states import JOBS, read_jobs
from bench.runs.session import Session, prepare_session, run_session

RUN = (
    *("run", "--suite", "micro", "--limit", "40", "--shifts", "v2", "--no-curves"),
    *("--methods", "wise-ft,vrf", "--seeds", "0,1", "--set", "e2e-ft.epochs=2", "--device", "cpu"),
)
ONE_THREAD = SAME_BENCH | {"OMP_NUM_THREADS": "1"}
"""The bits of a training depend on the number of threads."""


def run(folder: Path, *more: str, command: Sequence[str] = RUN) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder that has another bench, which nobody must import."""
    other = folder / "bench" / "__init__.py"
    other.parent.mkdir(parents=True, exist_ok=True)
    other.write_text("raise ImportError('another bench')")
    places = ("--out", folder / "out", "--cache-dir", folder / "cache")
    process = start(*command, *places, *more, env=ONE_THREAD, cwd=folder)
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def results(folder: Path) -> dict[str, bytes]:
    found = contents(folder / "out")
    return {name: text for name, text in found.items() if not name.startswith("jobs")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the run as one process makes them."""
    folder = tmp_path_factory.mktemp("alone")
    assert run(folder).returncode == 0
    return results(folder)


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = psutil.Process(process.pid).children(recursive=True)
    return [p for p in found if "spawn_main" in " ".join(p.cmdline())]


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError("it did not happen")


@pytest.mark.slow
def test_processes_give_the_files_of_one(alone: dict[str, bytes], tmp_path: Path) -> None:
    done = run(tmp_path, "--executor", "local:2")
    assert done.returncode == 0, done.stderr
    assert results(tmp_path) == alone
    jobs = read_jobs(tmp_path / "out").jobs
    assert {job.state for job in jobs} == {"done"}
    assert sum(job.label.startswith("train") for job in jobs) == 2
    again = run(tmp_path, "--executor", "local:2")
    assert again.returncode == 0 and results(tmp_path) == alone
    shown = bench("status", tmp_path / "out")
    assert shown.code == 0 and shown.out.startswith("local:2, ")
    assert json.loads(bench("status", tmp_path / "out", "--json").out)["executor"] == "local:2"


@pytest.mark.slow
def test_killed_workers_cost_their_jobs_alone(alone: dict[str, bytes], tmp_path: Path) -> None:
    process = start(
        *(*RUN, "--out", tmp_path / "out", "--cache-dir", tmp_path / "cache"),
        *("--executor", "local:2"),
        env=ONE_THREAD,
    )
    for worker in wait_for(lambda: len(found := workers(process)) == 2 and found):
        worker.kill()  # each is in its first job
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "a worker was lost" in err
    assert results(tmp_path) == alone
    assert "lost" in {job.state for job in read_jobs(tmp_path / "out").jobs}


@pytest.mark.slow
def test_workers_end_with_a_killed_run_which_goes_on(
    alone: dict[str, bytes], tmp_path: Path
) -> None:
    command = (*RUN, "--out", tmp_path / "out", "--cache-dir", tmp_path / "cache")
    process = start(*command, "--executor", "local:2", env=ONE_THREAD)
    own = wait_for(lambda: len(found := workers(process)) == 2 and found)
    wait_for(lambda: list((tmp_path / "cache").glob("weights/*/*")))
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_for(lambda: not any(p.is_running() and p.status() != "zombie" for p in own), 30)
    assert run(tmp_path, "--executor", "local:2").returncode == 0
    assert results(tmp_path) == alone


@pytest.mark.slow
def test_ctrl_c_ends_workers_and_keeps_what_is_done(tmp_path: Path) -> None:
    command = (*RUN, "--out", tmp_path / "out", "--cache-dir", tmp_path / "cache")
    process = start(*command, "--executor", "local:2", env=ONE_THREAD)
    own = wait_for(lambda: len(found := workers(process)) == 2 and found)
    wait_for(lambda: list((tmp_path / "cache").glob("weights/*/*")))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    assert not any(p.is_running() and p.status() != "zombie" for p in own)
    assert list((tmp_path / "cache").glob("weights/*/*"))


@pytest.fixture
def two_nodes() -> Iterator[str]:
    pytest.importorskip("ray", reason="the extra ray is not installed")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(num_cpus=1)
    yield cluster.address
    cluster.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_ray_cluster_of_two_nodes_gives_the_files_of_one_process(
    alone: dict[str, bytes], two_nodes: str, tmp_path: Path
) -> None:
    done = run(tmp_path, "--executor", f"ray:{two_nodes}")
    assert done.returncode == 0, done.stderr
    assert results(tmp_path) == alone
    logs = {job.log for job in read_jobs(tmp_path / "out").jobs}
    assert len(logs) >= 2 and all(Path(log).is_file() for log in logs)


@pytest.mark.slow
def test_slurms_jobs_give_the_files_of_one_process(tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    zero_shot = ("run", "--suite", "micro", "--limit", "20", "--shifts", "v2", "--methods",
                 "zero-shot", "--device", "cpu")  # fmt: skip
    alone, many = tmp_path / "alone", tmp_path / "many"
    assert run(alone, command=zero_shot).returncode == 0
    done = run(many, "--executor", "slurm:cluster=local,jobs=2", command=zero_shot)
    assert done.returncode == 0, done.stderr
    assert results(many) == results(alone)
    assert list((many / "out" / "jobs" / "slurm").glob("*/*_log.err"))


def test_a_job_at_its_time_limit_is_submitted_again() -> None:
    pytest.importorskip("submitit", reason="the extra slurm is not installed")
    from bench.front.executors.slurm import _Again

    job = Job(JobContext("{}", ".", "logs"), 0, (), "", on_device=False)
    again = _Again().checkpoint(job)
    assert isinstance(again.function, _Again) and again.args == (job,)


@dataclass
class Here:
    """Carries out jobs in this process, after `change` had its way with them."""

    change: Callable[[Job], JobResult] = carry_out_job
    slots: int = 2
    name: str = "here"
    least: int = 2
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
    from contextlib import nullcontext

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
    more = Here()
    carried_out(tmp_path, more)
    assert not more.jobs


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


def test_failures_name_their_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    diverging = {"e2e-ft": {"epochs": 1, "lr": 1e30}}
    outcome = carried_out(tmp_path, Here(), set=diverging)
    assert {cell.method for cell in outcome.missing} == {"e2e-ft", "ose"}
    (failed,) = [job for job in read_jobs(tmp_path / "out").jobs if job.state == "failed"]
    assert failed.label.startswith("train") and failed.reason
    assert failed.reason in {cell.reason for cell in outcome.missing}
    shown = bench("status", tmp_path / "out")
    assert "failed" in shown.out and failed.log in shown.out
    assert "Traceback" in Path(failed.log).read_text()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dask", "unknown executor 'dask'"),
        ("local:0", "expected local or local:N"),
        ("local:many", "expected local or local:N"),
        ("ray:auto,gpus=many", "gpus=many: expected a whole number"),
        ("ray:auto,gpus", "expected NAME=VALUE"),
        ("slurm:gpu", "expected NAME=VALUE"),
        ("slurm:cluster=pbs", "expected slurm or local"),
        ("slurm:minutes=-1", "expected a whole number"),
        ("slurm", "slurm"),
    ],
)
def test_executors_that_are_none_are_refused(text: str, words: str, tmp_path: Path) -> None:
    command = ("run", "--suite", "micro", "--limit", "20", "--methods", "zero-shot")
    result = bench(*command, "--executor", text, "--out", tmp_path / "o", "--cache-dir", tmp_path)
    assert result.code == 2 and words in result.err and "Traceback" not in result.err
    assert len(result.err.splitlines()[-1]) < 500


def test_a_launcher_and_an_executor_exclude_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost"}
    for name, value in {**launched, "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    with (
        pytest.raises(InputError, match="a launcher started 2 processes"),
        chosen_executor("local:2", "cpu", tmp_path),
    ):
        pass


def test_several_gpus_have_a_process_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    with chosen_executor("local", "auto", tmp_path) as executor:
        assert isinstance(executor, LocalExecutor) and executor.slots == 2
        assert [own["CUDA_VISIBLE_DEVICES"] for own in executor._own] == ["2", "5"]
        assert all(int(own["OMP_NUM_THREADS"]) >= 1 for own in executor._own)
    for text, device in ((None, "auto"), ("local", "cuda:1"), ("local", "cpu")):
        with chosen_executor(text, device, tmp_path) as executor:
            assert executor is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with chosen_executor("local", "auto", tmp_path) as executor:
        assert executor is None


def test_what_needs_no_gpu_has_no_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """bench score reads outputs that workers would not find; Python starts none unasked."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert score(folder(tmp_path / "in"), "--methods", "ose", "--out", tmp_path / "out").code == 0
    assert not (tmp_path / "out" / JOBS).exists()
    options: Any = {"suite": "micro", "limit": 20, "shifts": "v2", "methods": "zero-shot"}
    run = bench_package.run(**options, out=tmp_path / "run", cache_dir=tmp_path / "cache")
    assert run.records and not (tmp_path / "run" / JOBS).exists()


def test_a_script_is_not_run_again_by_its_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import bench\n"
        "print('once')\n"
        "run = bench.run(suite='micro', limit=20, shifts='v2', methods='zero-shot',\n"
        "                executor='local:1', cache_dir='cache', out='out')\n"
        "print(run.status)\n"
    )
    command = [sys.executable, str(script)]
    done = subprocess.run(
        command, cwd=tmp_path, env=SAME_BENCH, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["once", "complete"], done.stderr


def test_a_process_that_dies_between_two_jobs_is_replaced(tmp_path: Path) -> None:
    executor = LocalExecutor(1)
    job = Job(JobContext("no configuration", str(tmp_path), str(tmp_path)), 0, ("k",), "", False)
    try:
        results = []
        for _ in range(2):
            (sent,) = executor.submit([job])
            wait_for(sent.done)
            results.append(sent.result().failed["k"])
            (pool,) = executor._pools
            assert pool is not None
            (process,) = pool._processes.values()
            process.kill()
            wait_for(lambda process=process: not process.is_alive())
    finally:
        executor.close()
    assert len(results) == 2 and all("JSON" in reason for reason in results)


def test_a_run_without_jobs_and_a_bad_file_are_named(tmp_path: Path) -> None:
    assert_refused(bench("status", tmp_path), JOBS, "--executor")
    for text in ("[]", "{", '{"executor": 3}', "\xff"):
        (tmp_path / JOBS).write_text(text)
        assert_refused(bench("status", tmp_path), JOBS)
