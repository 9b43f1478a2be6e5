"""Workers give the results of one process, whoever is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from commands import SAME_BENCH, assert_refused, bench, contents, start
from outputs_folders import folder, score
from worker_runs import ONE_THREAD, RUN, is_alive, run, wait_for, workers

import bench as bench_package
from bench.core.errors import InputError
from bench.front.executors import local
from bench.front.executors.choice import chosen_executor
from bench.front.executors.local import LocalExecutor
from bench.runs.execution.jobs import Job, JobContext
from bench.runs.execution.states import JOBS, read_jobs


def results(folder: Path) -> dict[str, bytes]:
    found = contents(folder / "out")
    return {name: text for name, text in found.items() if not name.startswith("jobs")}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of the run as one process makes them."""
    folder = tmp_path_factory.mktemp("alone")
    assert run(folder).returncode == 0
    return results(folder)


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
    wait_for(lambda: not any(is_alive(p) for p in own), 30)
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
    assert not any(is_alive(p) for p in own)
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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dask", "unknown executor 'dask'"),
        ("local:0", "expected local or local:N"),
        ("local:many", "expected local or local:N"),
        ("local:2,gpus=2", "unknown option of --executor local 'gpus'"),
        ("local:processes=0", "expected a whole number from 1"),
        ("slurm:gpus=4,processes=2", "each process has one GPU"),
        ("ray:auto,gpus=many", "gpus=many: expected a whole number"),
        ("ray:auto,gpus", "expected NAME=VALUE"),
        ("slurm:gpu", "expected NAME=VALUE"),
        ("slurm:cluster=pbs", "expected slurm or local"),
        ("slurm:minutes=-1", "expected a whole number"),
        ("slurm:jobs=0", "expected a whole number from 1"),  # it waited for ever
        ("ray:auto,cpus=0", "expected a whole number from 1"),
        ("slurm", "slurm"),
    ],
)
def test_executors_that_are_none_are_refused(text: str, words: str, tmp_path: Path) -> None:
    command = ("--suite", "micro", "--limit", "20", "--methods", "zero-shot", "--executor", text)
    places = ("--out", tmp_path / "o", "--cache-dir", tmp_path)
    for name in ("run", "plan"):
        if text == "slurm" and name == "plan":
            continue  # which a machine without SLURM can make
        result = bench(name, *command, *places)
        assert result.code == 2 and words in result.err and "Traceback" not in result.err
        assert len(result.err.splitlines()[-1]) < 500


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_jobs_that_no_machine_can_run_are_refused(tmp_path: Path) -> None:
    """Ray would wait for a machine that never comes."""
    pytest.importorskip("ray", reason="the extra ray is not installed")
    done = run(tmp_path, "--executor", "ray:cpus=4096")
    assert done.returncode == 2 and "no machine of the cluster has" in done.stderr
    assert "4096 of CPU" in done.stderr and "Traceback" not in done.stderr


def test_what_slurm_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    submitit = pytest.importorskip("submitit", reason="the extra slurm is not installed")
    refused = Mock(side_effect=submitit.core.utils.FailedJobError("invalid partition"))
    monkeypatch.setattr(submitit.AutoExecutor, "submit", refused)
    command = ("run", "--suite", "micro", "--limit", "20", "--methods", "zero-shot")
    places = ("--out", tmp_path / "out", "--cache-dir", tmp_path / "cache")
    result = bench(*command, "--executor", "slurm:cluster=local", *places)
    assert_refused(result, "jobs are not accepted", "invalid partition")


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


def test_workers_start_anew_where_they_cannot_be_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """For other threads than the server's, elsewhere than on Linux, and without a socket."""
    monkeypatch.setattr(local.forkserver, "ensure_running", lambda: None)
    monkeypatch.setattr(local, "_server_threads", {})
    monkeypatch.setattr(sys, "platform", "darwin")
    assert local._context("1").get_start_method() == "spawn"
    monkeypatch.setattr(sys, "platform", "linux")
    kinds = [local._context(threads).get_start_method() for threads in ("2", "1", "2")]
    assert kinds == ["forkserver", "spawn", "forkserver"]
    too_long = OSError("AF_UNIX path too long")
    monkeypatch.setattr(local.forkserver, "ensure_running", Mock(side_effect=too_long))
    assert local._context("2").get_start_method() == "spawn"


@pytest.mark.slow
def test_workers_start_below_a_temporary_folder_with_a_long_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name of a socket has 107 bytes at most."""
    place = tmp_path / ("x" * 100)
    place.mkdir()
    monkeypatch.setitem(ONE_THREAD, "TMPDIR", str(place))
    command = (*RUN[:7], "--methods", "zero-shot", "--device", "cpu")
    done = run(tmp_path, "--executor", "local:1", command=command)
    assert done.returncode == 0, done.stderr
