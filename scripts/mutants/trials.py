"""Tests against one mutant: which ones, and a process of their own in which they run."""

from __future__ import annotations

import gc
import importlib
import json
import os
import resource
import shutil
import signal
import sys
import time
import traceback
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any, TextIO

from coverage import CoverageData

from .listing import Mutant, statement

LIBRARIES = (
    *("numpy", "scipy.optimize", "scipy.stats", "torch", "torchvision", "open_clip", "timm", "PIL"),
    *("pandas", "sklearn.base", "altair", "pydantic", "cloup", "yaml", "jinja2", "rich.live"),
    *("safetensors.torch", "accelerate", "tabulate", "filelock", "faiss", "hypothesis", "pytest"),
)
"""Imported once, before the first trial: trials are copies of this process."""
NOT_EXCHANGED, WARM_FAILED = 71, "not exchanged"
MEMORY = 16 << 30
"""The most address space of one trial, in bytes."""


@dataclass(frozen=True)
class Suite:
    """What a run of the whole suite said: the tests that ran each line, and their seconds."""

    coverage: Path
    durations: Path
    data: CoverageData = field(init=False)
    seconds: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        data = CoverageData(str(self.coverage))
        data.read()
        object.__setattr__(self, "data", data)
        seconds: dict[str, float] = {}
        for file in sorted(self.durations.parent.glob(self.durations.name)):
            for case in ElementTree.parse(file).iter("testcase"):
                path = case.attrib["classname"].replace(".", "/") + ".py"
                seconds[f"{path}::{case.attrib['name']}"] = float(case.attrib["time"])
        object.__setattr__(self, "seconds", seconds)

    def tests(self, root: Path, mutant: Mutant, budget: float) -> list[str]:
        """Return tests that run the mutant's statement, for `budget` seconds in all.

        Those of the file's own package come first, then the quick ones. What runs on import is
        tested by all files of tests that run any line of the file.
        """
        by_line = self.data.contexts_by_lineno(mutant.file)
        lines, on_import = statement(root, mutant)
        wanted = by_line.values() if on_import else [by_line.get(line, []) for line in lines]
        names = {context.split("|")[0] for contexts in wanted for context in contexts}
        if on_import:
            files = {name.split("::")[0] for name in names}
            names = {name for name in self.seconds if name.split("::")[0] in files}
        known = names & self.seconds.keys()
        package = mutant.file.removeprefix("bench/").split("/")[0]

        quickest = sorted(known, key=lambda test: (self.seconds[test], test))
        own = [test for test in quickest if test.startswith(f"tests/{package}/")]
        chosen: dict[str, None] = {}
        spent = 0.0
        # What runs on import may be noticed anywhere: half of the budget is for other packages.
        for tests, part in ((own, budget / (2 if on_import else 1)), (quickest, budget)):
            for test in tests:
                if spent < part and test not in chosen:
                    chosen[test] = None
                    spent += self.seconds[test]
        return list(chosen)


class _Watcher:
    """A plugin of pytest that notes the first failure, and keeps the names of the tests."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.tests: list[str] = []

    def pytest_collection_finish(self, session: Any) -> None:
        """Keep the names."""
        self.tests = [item.nodeid for item in session.items]

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a failed test."""
        if report.failed and not self.file.exists():
            self.file.write_text(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        """Note a file of tests that cannot be imported."""
        if report.failed and not self.file.exists():
            self.file.write_text(f"import of {report.nodeid}")


@dataclass
class Bench:
    """A copy of the repository at `root` in which mutants are tried, one at a time."""

    root: Path
    scratch: Path
    collected: Sequence[str] = ("tests",)
    passes: dict[str, bool] = field(default_factory=dict)
    _functions: Sequence[FunctionType] = ()
    _tests: frozenset[str] = frozenset()

    def prepare(self) -> None:
        """Make this process one of which trials can be copies."""
        os.chdir(self.root)
        sys.path.insert(0, str(self.root))
        sys.pycache_prefix = str(self.scratch / "bytecode")
        os.environ |= {"PYTHONPATH": str(self.root), "OMP_NUM_THREADS": "1"}
        for name in LIBRARIES:
            importlib.import_module(name)
        if "bench" in sys.modules:
            raise RuntimeError("bench is imported already: its mutants would not be")
        requests, self._requests = os.pipe()
        self._replies, replies = os.pipe()
        if os.fork() == 0:
            os.close(self._requests)
            os._exit(self._serve(os.fdopen(requests), os.fdopen(replies, "w")))
        os.close(requests)
        os.close(replies)
        self._answers = os.fdopen(self._replies)
        self._tests = frozenset(json.loads(self._answers.readline()))
        if not self._tests:
            raise RuntimeError(f"the tests cannot be collected: see {self.scratch / 'log'}")
        sys.dont_write_bytecode = True
        gc.freeze()

    def killer(self, mutant: Mutant, tests: list[str], limit: float) -> str | None:
        """Return the test that fails on the mutant and passes without it; None if there is none.

        ``timeout`` and ``import`` stand for mutants that do not end and that cannot be imported.
        """
        remaining = [test for test in tests if test in self._tests]
        file = self.root / mutant.file
        kept = self.scratch / "unchanged"
        shutil.copy2(file, kept)
        _, on_import = statement(self.root, mutant)
        code = mutant.code(self.root)
        while remaining:
            file.write_text(code)
            try:
                found = WARM_FAILED if on_import else self._ask(remaining, limit, mutant.file)
                if found == WARM_FAILED:
                    found = self._run(remaining, limit)
            finally:
                shutil.copy2(kept, file)
            suspect = found if found in remaining else remaining[0]
            if found is None or self._passes(suspect, limit):
                return found
            remaining.remove(suspect)
        return None

    def _passes(self, test: str, limit: float) -> bool:
        if test not in self.passes:
            self.passes[test] = self._ask([test], limit) is None
            if not self.passes[test]:
                print(f"  (fails without a mutant, so it is left out: {test})", flush=True)
        return self.passes[test]

    def _ask(self, tests: list[str], limit: float, changed: str = "") -> str | None:
        request = json.dumps([tests, limit, changed]) + "\n"
        os.write(self._requests, request.encode())
        answer: str | None = json.loads(self._answers.readline())
        return answer

    def _serve(self, requests: TextIO, replies: TextIO) -> int:
        """Import all tests once, then run trials of what they import with some code exchanged."""
        watcher = _Watcher(self.scratch / "failed")
        code = self._in_trial([*self.collected, "--collect-only"], watcher, alone=False)
        self._functions = [one for one in gc.get_objects() if isinstance(one, FunctionType)]
        gc.freeze()  # a collection in a trial need not look at what all trials share
        print(json.dumps([] if code else watcher.tests), file=replies, flush=True)
        for request in requests:
            tests, limit, changed = json.loads(request)
            print(json.dumps(self._run(tests, limit, changed)), file=replies, flush=True)
        return 0

    def _run(self, tests: list[str], limit: float, changed: str = "") -> str | None:
        note = self.scratch / "failed"
        note.unlink(missing_ok=True)
        process = os.fork()
        if process == 0:
            os._exit(self._in_trial(tests, _Watcher(note), changed))
        deadline, ended, look = time.monotonic() + limit, None, os.WEXITED | os.WNOHANG | os.WNOWAIT
        while ended is None and time.monotonic() < deadline:
            time.sleep(0.02)
            ended = os.waitid(os.P_PID, process, look)
        with suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)  # with all that the tests have started
        _, status = os.waitpid(process, 0)
        if ended is None:
            return "timeout"
        if os.waitstatus_to_exitcode(status) == NOT_EXCHANGED:
            return WARM_FAILED
        if note.exists():
            return note.read_text()
        return None if status == 0 else "import"

    def _in_trial(
        self, tests: list[str], watcher: _Watcher, changed: str = "", alone: bool = True
    ) -> int:
        log = os.open(self.scratch / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            if alone:
                os.setsid()
                resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            if changed and not exchanged(self.root / changed, self._functions):
                return NOT_EXCHANGED
            import pytest

            options = (
                *("-x", "-n", "0", "-p", "no:cacheprovider", "--hypothesis-seed=0"),
                *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # of `LIBRARIES`
            )
            folder = f"--basetemp={self.scratch / 'tmp'}"
            return int(pytest.main([*options, folder, *tests], plugins=[watcher]))
        except BaseException:
            traceback.print_exc()
            return 70


def exchanged(file: Path, functions: Sequence[FunctionType]) -> bool:
    """Give the `functions` of an imported file the code that it has now; whether any changed.

    What runs on import stays as it was.
    """
    todo: list[Any] = [compile(file.read_text(), str(file.resolve()), "exec")]
    codes = {}
    while todo:
        code = todo.pop()
        codes[code.co_qualname, code.co_firstlineno] = code
        todo += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    found = 0
    for function in functions:
        old = function.__code__
        new = codes.get((old.co_qualname, old.co_firstlineno))
        if new is not None and Path(old.co_filename).resolve() == file.resolve() and new != old:
            try:
                function.__code__ = new
            except ValueError:  # other free variables
                return False
            found += 1
    return found > 0
