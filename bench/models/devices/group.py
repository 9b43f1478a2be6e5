"""The processes that a launcher started for one run: how they join, agree and end together.

Numbers go through torch.distributed. All else goes through links, one from the first process to
each other: what is to be computed, who failed, and that a process is gone. A thread reads them, so
that a process learns of the end of the others while it waits for them in the midst of a step.
"""

from __future__ import annotations

import logging
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NoReturn, TypeVar, cast

from bench.core.environment import process_count
from bench.core.errors import (
    INTERRUPTED,
    BenchError,
    CellError,
    InputError,
    code_of,
    concise,
    one_line,
)
from bench.core.store import MissingOutput
from bench.core.streams import SHOW_CURSOR, print_line
from bench.models.devices.links import linked

JOIN = timedelta(minutes=10)
"""The time within which all processes must have started."""

PATIENCE = timedelta(days=2)
"""The time that torch waits for a process that is still there, as while the first one measures."""

GRACE = 20.0
"""Seconds after the failure of one process for the others to fail as well, or to be done."""

RESUME = "run the same command again to resume"

log = logging.getLogger("bench")
Result = TypeVar("Result")
Failure = tuple[type[Exception], str]


class ProcessGroup:
    """This process and its `links` to others: {rank: link}, all of them in the first process.

    As a context, it has the processes end together. What one of them raises ends all, with its
    message, which the first process prints, and its exit code; so does a process that is gone.
    Without an error, the others wait for the end of the first one.

    Examples
    --------
    >>> from multiprocessing import Pipe
    >>> from threading import Thread
    >>> from bench.models.devices.group import ProcessGroup
    >>> here, there = Pipe()
    >>> def other():
    ...     with ProcessGroup(1, {0: there}) as group:
    ...         print("to do:", group.hear())
    ...         with group.agreement():
    ...             print("done")
    ...
    >>> thread = Thread(target=other)
    >>> with ProcessGroup(0, {1: here}) as group:
    ...     thread.start()
    ...     group.announce("train")
    ...     with group.agreement():
    ...         pass
    ...
    to do: train
    done
    >>> thread.join()
    """

    def __init__(self, rank: int, links: Mapping[int, Connection]) -> None:
        self.rank, self.links = rank, links
        self._heard: SimpleQueue[Any] = SimpleQueue()  # what the first process told this one
        self._done: dict[int, Failure | None] = {}  # by rank, in the first process
        self._changed = threading.Condition()
        self._sending, self._last = threading.Lock(), threading.Lock()
        self._deadline: threading.Timer | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process decides what is computed, writes and reports."""
        return self.rank == 0

    def __enter__(self) -> ProcessGroup:
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None
    ) -> None:
        if self.is_first:
            self._last.acquire()  # never released: this thread has the last word
            self._tell("end", code_of(error) if error else 0)
        elif error is None:
            self.hear()
        else:
            log.debug("failed", exc_info=error)
            self._tell("failed", code_of(error), _said(error))
            while True:  # until the thread that reads the link ends this process
                time.sleep(GRACE)

    def announce(self, work: Any) -> None:
        """Tell the other processes what comes next. First process only.

        Only the first process decides what is pending. If two processes looked at the store at
        different moments, they could disagree and wait for each other forever.
        """
        self._done = {}
        self._tell("work", work)

    def hear(self) -> Any:
        """Wait for the first process and return what it announced. Other processes only."""
        return self._heard.get()

    def first_alone(self, act: Callable[[], Result]) -> Result:
        """Have every process call `act`, the first one before all others."""
        if not self.is_first:
            self.hear()
        found = act()
        if self.is_first:
            self.announce(None)
        return found

    @contextmanager
    def agreement(self, *, in_step: bool = False) -> Iterator[None]:
        """Leave the context when all processes do; raise the first error in each of them.

        That of another process is raised here as CellError (or MissingOutput) with its message. One
        that ends a run (`BenchError.ends_run`) is raised at once. If the processes compute
        `in_step`, others wait for what one that failed will never send: unless they are here within
        `GRACE`, the run ends.
        """
        error: BaseException | None = None
        try:
            yield
        except (Exception, SystemExit) as found:
            if isinstance(found, BenchError) and found.ends_run:
                raise
            error = found
        own = None if error is None else (_kind(error), one_line(error))
        first: tuple[int, Failure] | None
        if self.is_first:
            self._take(0, own, in_step)
            with self._changed:
                self._changed.wait_for(lambda: len(self._done) > len(self.links))
            failed = [(rank, found) for rank, found in sorted(self._done.items()) if found]
            first = next(iter(failed), None)
            self._tell("work", first)
        else:
            self._tell("done", own, in_step)
            first = self.hear()
        if error is not None:
            raise error
        if first is not None:
            rank, (kind, message) = first
            raise kind(f"process {rank}: {message}")

    def _take(self, rank: int, failure: Failure | None, in_step: bool) -> None:
        """Note that a process is done."""
        with self._changed:
            self._done[rank] = failure
            if failure is not None and in_step:
                self._end_later(CellError.exit_code, rank, failure[1])
            if len(self._done) > len(self.links) and self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None
            self._changed.notify_all()

    def _watch(self) -> None:
        """Read the links until the run ends."""
        ranks: dict[Any, int] = {link: rank for rank, link in self.links.items()}
        while ranks:
            for link in wait(list(ranks)):
                rank, found = ranks[link], cast(Connection, link)
                try:
                    message: tuple[Any, ...] = found.recv()
                except Exception:
                    self._end(1, rank, f"gone, as it or its machine was stopped; {RESUME}")
                match message:
                    case "work", work:
                        self._heard.put(work)
                    case "done", failure, in_step:
                        self._take(rank, failure, in_step)
                    case "failed", int(code), said:
                        (self._end_later if code == INTERRUPTED else self._end)(code, rank, said)
                    case "end", 0:
                        self._heard.put(None)
                        return
                    case _, int(code):
                        os._exit(code)

    def _end_later(self, code: int, rank: int, message: str) -> None:
        """End the run after `GRACE`, unless the first process ends it, or goes on, before."""
        if self._deadline is None:
            self._deadline = threading.Timer(GRACE, self._end, (code, rank, message))
            self._deadline.daemon = True
            self._deadline.start()

    def _end(self, code: int, rank: int, message: str) -> NoReturn:
        """End all processes at once: the main thread may wait for one that is gone."""
        self._last.acquire()
        self._tell("end", code)
        if sys.stderr.isatty():
            sys.stderr.write(SHOW_CURSOR)
        said = message if rank == self.rank else f"process {rank}: {message}"
        print_line(concise(f"bench: {said}"), sys.stderr)
        sys.stdout.flush()
        os._exit(code)

    def _tell(self, *message: Any) -> None:
        """Send a message; one that is gone is noticed where it is read from."""
        packed = pickle.dumps(message)
        with self._sending:
            for link in self.links.values():
                with suppress(OSError):
                    link.send_bytes(packed)


def _kind(error: BaseException) -> type[Exception]:
    return MissingOutput if isinstance(error, MissingOutput) else CellError


def _said(error: BaseException) -> str:
    return f"interrupted; {RESUME}" if isinstance(error, KeyboardInterrupt) else one_line(error)


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """Join the processes that a launcher started together.

    `device` is ``auto``, ``cpu`` or ``cuda``. In the context they are a group of torch.distributed,
    too. Raises InputError for a device that several processes cannot share, and unless as many
    join as were started.

    Examples
    --------
    >>> from bench.models.devices.group import process_group
    >>> with process_group("auto") as group:  # started without torchrun or accelerate launch
    ...     print(group.rank, group.links)
    0 {}
    """
    size = process_count()
    if size == 1:
        yield ProcessGroup(0, {})
        return
    if ":" in device or device == "mps":
        raise InputError(
            f"--device {device}: {size} processes were started, which cannot share one device: use "
            "--device cuda, where each has its own, or start one process"
        )
    import torch

    distributed: Any = torch.distributed
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    try:
        board, rank, _ = next(distributed.rendezvous("env://", timeout=JOIN))
        links = linked(rank, distributed.PrefixStore("links", board), JOIN.total_seconds())
    except RuntimeError as error:  # torch's
        raise InputError(
            f"the {size} processes did not meet at MASTER_ADDR and MASTER_PORT ({place}): start "
            f"all of them, where they reach each other: {one_line(error)}"
        ) from error
    with ProcessGroup(rank, links) as group:
        on_cpu = device == "cpu" or not torch.cuda.is_available()
        if group.is_first:
            group.announce(on_cpu)
        elif on_cpu != group.hear():
            raise InputError("not all processes have a GPU: use --device cpu")
        _join_torch(on_cpu, distributed.PrefixStore("torch", board), rank, size)
        yield group


def _join_torch(on_cpu: bool, board: Any, rank: int, size: int) -> None:
    """Make the processes a group of torch.distributed, with accelerate's choice of a backend."""
    import torch
    from accelerate import PartialState

    # Without CUDA and without `cpu`, accelerate has each process run alone, without a word.
    state = PartialState(cpu=on_cpu, store=board, rank=rank, world_size=size, timeout=PATIENCE)
    if state.num_processes != size:
        raise InputError(
            f"{size} processes were started and {state.num_processes} joined: unset the variables "
            "ACCELERATE_..., or start one process"
        )
    if not on_cpu:
        _claim_gpu(board, str(state.device), torch.cuda.get_device_properties(state.device).uuid)


def _claim_gpu(board: Any, name: str, uuid: object) -> None:
    """Raise InputError if another process has the GPU; some launchers show only one to each."""
    if board.add(f"gpu {uuid}", 1) > 1:
        raise InputError(
            f"two processes have the same GPU ({name}, {uuid}): start as many on a machine as it "
            "has GPUs"
        )
