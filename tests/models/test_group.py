"""Processes of one run as threads: what they tell each other, and how they end together."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest
from torch.distributed import HashStore

from bench.core.errors import BenchError, CellError, DataError, InputError
from bench.core.store import MissingOutput, UnreadableOutput
from bench.models.devices import group as module
from bench.models.devices import links
from bench.models.devices.group import ProcessGroup, _claim_gpu, process_group
from bench.models.devices.links import linked


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The exit codes of processes that are ended, which are threads here."""
    codes: list[int] = []

    def end(code: int) -> None:
        codes.append(code)
        threading.Event().wait()  # for ever: the thread does nothing any more

    monkeypatch.setattr(os, "_exit", end)
    return codes


def groups(size: int) -> list[ProcessGroup]:
    pipes = {rank: Pipe() for rank in range(1, size)}
    first = ProcessGroup(0, {rank: here for rank, (here, _) in pipes.items()})
    return [first, *(ProcessGroup(rank, {0: there}) for rank, (_, there) in pipes.items())]


def start(group: ProcessGroup, act: Callable[[ProcessGroup], Any]) -> Future[Any]:
    """Have a thread be a process, which may never end."""
    found: Future[Any] = Future()

    def run() -> None:
        try:
            with group:
                result = act(group)
        except BaseException as error:
            found.set_exception(error)
        else:
            found.set_result(result)

    threading.Thread(target=run, daemon=True).start()
    return found


def together(size: int, act: Callable[[ProcessGroup], Any]) -> list[Any]:
    """Return what `act` returns in each process, by rank."""
    return [run.result(10) for run in [start(group, act) for group in groups(size)]]


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    assert condition()


def test_all_hear_what_the_first_one_announces_and_wait_for_its_end() -> None:
    order: list[str] = []

    def act(group: ProcessGroup) -> list[Any]:
        group.first_alone(lambda: order.append(f"opened by {group.rank}"))
        if group.is_first:
            for work in ("heads", "features", None):
                group.announce(work)
                if work:
                    with group.agreement():
                        pass
            time.sleep(0.1)
            order.append("written")
            return []
        heard = []
        while (work := group.hear()) is not None:
            with group.agreement():
                heard.append(work)
        return heard

    found = together(3, act)
    assert found == [[], ["heads", "features"], ["heads", "features"]]
    assert order[0] == "opened by 0" and order[-1] == "written"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (CellError("no room"), CellError),
        (MissingOutput("weights 1f0c"), MissingOutput),
        (UnreadableOutput("1f0c: permission denied"), CellError),
        (SystemExit(3), CellError),
    ],
)
def test_the_failure_of_one_is_that_of_an_item_for_all(
    error: BaseException, kind: type[Exception]
) -> None:
    """The processes go on: others were done with the item, or failed in the same way."""

    def act(group: ProcessGroup) -> list[str]:
        said = []
        for fails in (True, False):
            if group.is_first:
                group.announce("item")
            else:
                group.hear()
            try:
                with group.agreement(in_step=True):
                    if fails and group.rank == 1:
                        raise error
            except (Exception, SystemExit) as found:
                said.append(found)
        return said

    first, second, third = together(3, act)
    assert second == [error]
    for (other,) in (first, third):
        assert type(other) is kind
        assert str(other).startswith("process 1: ") and str(error) in str(other)


def test_the_first_failure_by_rank_is_told_and_each_has_its_own() -> None:
    def act(group: ProcessGroup) -> None:
        if group.is_first:
            group.announce("item")
        else:
            group.hear()
        try:
            with group.agreement():
                if group.rank:
                    raise CellError(f"of {group.rank}")
        except CellError as error:
            return str(error)
        return None

    assert together(3, act) == ["process 1: of 1", "of 1", "of 2"]


def stuck(group: ProcessGroup) -> None:
    """Wait, as in the midst of a step, for what another process never sends."""
    time.sleep(3)


@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_fails_in_the_midst_of_a_step_ends_all(
    rank: int, ended: list[int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.2)

    def fail(group: ProcessGroup) -> None:
        with group.agreement(in_step=True):
            raise CellError("out of memory: set --micro-batch")

    first, second = groups(2)
    start(first, stuck if rank else fail)
    start(second, fail if rank else stuck)
    until(lambda: len(ended) == 2)
    assert ended == [1, 1]
    said = capfd.readouterr().err
    assert said == f"bench: {'process 1: ' if rank else ''}out of memory: set --micro-batch\n"


def test_one_that_fails_elsewhere_is_waited_for(
    ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others go on with their part of the features, however long that takes."""
    monkeypatch.setattr(module, "GRACE", 0.05)

    def act(group: ProcessGroup) -> str:
        if group.is_first:
            group.announce("features")
        else:
            group.hear()
        try:
            with group.agreement():
                if group.rank:
                    raise CellError("not finite")
                time.sleep(0.4)
        except CellError as error:
            return str(error)
        return ""

    assert together(2, act) == ["process 1: not finite", "not finite"]
    assert not ended


@pytest.mark.parametrize("error", [InputError("no such option"), DataError("cat.png: cut off")])
def test_what_ends_a_run_ends_all_at_once_with_its_code(
    error: BenchError, ended: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(group: ProcessGroup) -> None:
        with group.agreement(in_step=True):
            raise error

    first, second = groups(2)
    start(first, stuck)
    start(second, fail)
    until(lambda: len(ended) == 2)
    assert ended == [error.exit_code] * 2
    assert capfd.readouterr().err == f"bench: process 1: {error}\n"


@pytest.mark.parametrize(
    ("error", "code"), [(OSError(28, "full", "report.md"), 2), (KeyboardInterrupt(), 130)]
)
def test_what_the_first_one_raises_ends_the_others_without_a_word(
    error: BaseException, code: int, ended: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = groups(2)
    start(second, lambda group: group.hear())
    with pytest.raises(type(error)), first:  # which the command line says
        raise error
    until(lambda: bool(ended))
    assert ended == [code]
    assert capfd.readouterr().err == ""


def test_an_interrupt_leaves_the_first_one_time_to_store_its_work(
    ended: list[int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.5)

    def interrupted(group: ProcessGroup) -> None:
        raise KeyboardInterrupt

    first, second = groups(2)
    start(second, interrupted)
    start(first, stuck)
    time.sleep(0.2)
    assert not ended
    until(lambda: len(ended) == 2)
    assert ended == [130, 130]
    assert "process 1: interrupted; run the same command again" in capfd.readouterr().err


@pytest.mark.parametrize("rank", [0, 1])
def test_one_that_is_gone_ends_the_others(
    rank: int, ended: list[int], capfd: pytest.CaptureFixture[str]
) -> None:
    ends = groups(2)
    start(ends[1 - rank], stuck)
    for link in ends[rank].links.values():
        link.close()  # as the system does when a process is killed
    until(lambda: bool(ended))
    assert ended == [1]
    said = capfd.readouterr().err
    assert said.startswith(f"bench: process {rank}: gone") and "again to resume" in said


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WORLD_SIZE": 3, "LOCAL_WORLD_SIZE": 3, "RANK": 0, "LOCAL_RANK": 0}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")


@pytest.mark.usefixtures("three")
def test_links_connect_the_first_process_with_each_other_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A stranger that connects first, and says what it likes, is none of them."""
    monkeypatch.setattr(links, "HELLO_SECONDS", 1)

    class Board(HashStore):
        def set(self, name: str, value: str) -> None:
            super().set(name, value)
            _, port, host = value.split()
            for said in (b"", b"GET / HTTP/1.1\r\n\r\n" * 9):
                stranger = socket.create_connection((host, int(port)))
                stranger.sendall(said)
                strangers.append(stranger)

    strangers: list[socket.socket] = []
    board = Board()
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(linked, rank, board, 20.0) for rank in range(3)]
        found: list[dict[int, Connection]] = [run.result(30) for run in runs]
    assert [sorted(one) for one in found] == [[1, 2], [0], [0]]
    for rank in (1, 2):
        found[rank][0].send(f"from {rank}")
        assert found[0][rank].recv() == f"from {rank}"
    for one in [*strangers, *(link for links_ in found for link in links_.values())]:
        one.close()


@pytest.mark.usefixtures("three")
def test_fewer_processes_than_were_started_are_refused() -> None:
    with pytest.raises(InputError, match="1 of 3 processes joined within 0 s"):
        linked(0, HashStore(), 0.2)


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("device", ["cuda:1", "mps"])
def test_processes_cannot_share_one_device(device: str) -> None:
    with (
        pytest.raises(InputError, match=f"--device {device}: 3 processes .* cannot share"),
        process_group(device),
    ):
        pass


def test_two_processes_with_one_gpu_are_refused() -> None:
    board = HashStore()
    for uuid in ("1f0c", "2e1d"):
        _claim_gpu(board, "cuda:0", uuid)  # each sees its own as the only one
    with pytest.raises(InputError, match=r"same GPU \(cuda:0, 2e1d\): start as many"):
        _claim_gpu(board, "cuda:0", "2e1d")
