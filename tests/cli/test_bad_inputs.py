"""What a user can get wrong, as kinds of values times the places that take them: one clear line.

Nothing here loads a model: all is refused before.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import bench
from outputs_folders import folder as outputs_folder

from bench.core.records import records_text
from bench.runs.study.config import RunConfig
from bench.testing.fakes import fake_records

PLAN = ("plan", "--suite", "micro")
HUGE, DEEP, ESCAPE = "9" * 5000, "[" * 3000, "\033[31mred"

NUMBERS = ("nan", "inf", "1e400", "-1", HUGE, str(2**63), "true", "", "[]")
TEXTS = ("vrf\0", ESCAPE, "x" * 5000, "\udcff", DEEP)
PATHS = ("", "a\0b", "x" * 300, "a/" * 3000, "loop", "file/below")
NUMERIC = (
    "train-batch-size", "eval-batch-size", "micro-batch", "workers", "limit", "trials", "shots",
    "seeds",
)  # fmt: skip
NAMED = {
    "suite": "suite", "methods": "method", "shifts": "shift", "table": "table", "model": "model",
    "pretrained": "pretrained", "imported": "imported", "protocol": "protocol", "select": "rule",
    "tune": "method", "device": "device", "precision": "precision", "tracker": "tracker",
}  # fmt: skip
"""The options of names, and the word for them in messages."""
PLACES = {
    "data": "data", "templates": "templates", "config": "config", "plugin": "plugin",
    "out": "out", "cache-dir": "cache",
}  # fmt: skip
SETTINGS = (
    *(f"e2e-ft.{n}" for n in ("lr", "weight_decay", "batch_size", "epochs", "warmup", "clip")),
    *("vrf.p", "vrf.b_grid", "protocol.ece_bins", "protocol.ece_batch", "protocol.holdout"),
    "protocol.objectnet_border",
)
SET_TO = ("nan", ".inf", "1e400", "-1", HUGE, "true", DEEP, "&a [*a]", "{}", "x\0")
KINDS = ("[[]]", "{a: {b: c}}", "2020-01-01", DEEP, HUGE, "0x" + "f" * 5000, "&a [*a]", '"a\\0b"')
"""Values of a run file that no option has."""
JSON_KINDS = (
    b"", b"[]", b"null", b"\xff\xfe", b"\0", b"[" * 100_000, b'{"a":' * 50_000, b"NaN", None,
)  # fmt: skip
"""Contents of a JSON file that has a mapping; None is a folder in its place."""
CONFIGS = (
    {"table": 3}, {"table": ["a"]}, {"table": ESCAPE}, {"plugin": 3}, {"suite": 3}, {"set": [3]},
    {"set": {"vrf": 3}}, {"plugin": ["a"], "plugin_sha256": [[1]]}, {"templates": 3},
)  # fmt: skip
RECORD_VALUES = ("NaN", "Infinity", "1e400", '"x"', "null", DEEP)
FORMS = (True, -1, 10**30, 1.5, [[]], [None], "a\0b", {"file": 3}, {"file": ""}, {"file": "."})
SHAPES = ([-1], [True], [30, -3], [10**18, 10**18], [0], "x", None, [2**63])
LAUNCHES: tuple[tuple[str, dict[str, str]], ...] = (
    *(("WORLD_SIZE", {"WORLD_SIZE": text}) for text in ("two", "0", "-1", "", "2", "1_0")),
    *(("RANK", {"RANK": text}) for text in ("x", "3", "")),
    ("LOCAL_RANK", {"LOCAL_RANK": "x"}),
    ("MASTER_PORT", {"MASTER_PORT": "99999"}),
)


@dataclass(frozen=True)
class Case:
    """A command, the files and variables that it finds, and what its error must name (one of)."""

    arguments: tuple[str, ...]
    names: str | tuple[str, ...]
    files: dict[str, bytes | None] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)


def of_options() -> Iterator[Case]:
    for name in NUMERIC:
        for text in NUMBERS:
            word = "batch" if "batch" in name else "shots" if name == "shots" else f"--{name}"
            yield Case((*PLAN, f"--{name}={text}"), word)
    for name, word in NAMED.items():
        for text in TEXTS:
            yield Case((*PLAN, f"--{name}={text}"), word)
    for name, word in PLACES.items():
        for text in PATHS:
            yield Case((*PLAN, f"--{name}={text}"), word)
    for name in SETTINGS:
        for text in SET_TO:
            methods = () if name.startswith("protocol") else ("--methods", name.split(".")[0])
            yield Case((*PLAN, *methods, "--set", f"{name}={text}"), f"{name}=")
    yield Case(("show", "a\0b.yaml"), ".yaml")
    for command in ("report", "check", "compare"):
        for text in ("", "a\0b", "x" * 300):
            runs = (text, text) if command == "compare" else (text,)
            yield Case((command, *runs), ("path", "a\\x00b", "xxx"))


def of_run_files() -> Iterator[Case]:
    for name in RunConfig.model_fields:
        for text in KINDS:
            suite = "" if name == "suite" else "suite: micro\n"
            content = f"{suite}{name}: {text}\n".encode()
            named = ("run.yaml", "a\\x00b", "--tune", "method 'a'")
            yield Case(("plan", "--config", "run.yaml"), named, {"run.yaml": content})
    for text in ("", "[]", "x" * 10_000, "suite: micro\nsuite: mini", "1: 2", "set: {vrf: 1}"):
        files = {"run.yaml": text.encode()}
        yield Case(("plan", "--config", "run.yaml"), "run.yaml", files)


def of_runs() -> Iterator[Case]:
    records = records_text(fake_records())
    good = {"run/records.jsonl": records.encode()}
    kinds = [*JSON_KINDS, *(json.dumps(config).encode() for config in CONFIGS)]
    for content in kinds:
        is_unread = content is not None and b"templates" in content  # by reports
        for command in ("check",) if is_unread else ("check", "report"):
            named = "" if content is not None and b"31m" in content else "config.json"
            yield Case((command, "run"), named, {**good, "run/config.json": content})
    for content in JSON_KINDS:
        yield Case(("check", "run"), "sources.json", {"run/sources.json": content or b"{}"})
        yield Case(("report", "run"), "records.jsonl", {"run/records.jsonl": content})
    for value in RECORD_VALUES:
        text = records.replace('"value": 0.8', f'"value": {value}')
        assert text != records
        files = {"run/records.jsonl": text.encode()}
        yield Case(("report", "run"), "records.jsonl:", files)


def of_outputs() -> Iterator[Case]:
    form = yaml.safe_load((outputs_folder(Path("given")) / "outputs.yaml").read_text())
    header = Path("given/test.safetensors").read_bytes()
    length = struct.unpack("<Q", header[:8])[0]
    for name in ("classes", "models", "train", "selection", "test", "shifts"):
        for value in FORMS:
            content = yaml.safe_dump({**form, name: value}).encode()
            yield Case(("score", "--outputs", "given"), "given", {"given/outputs.yaml": content})
    for name in ("labels", "clip.logits"):
        for shape in SHAPES:
            arrays: dict[str, Any] = json.loads(header[8 : 8 + length])
            arrays[name]["shape"] = shape
            text = json.dumps(arrays).encode()
            content = struct.pack("<Q", len(text)) + text + header[8 + length :]
            files = {"given/test.safetensors": content}
            yield Case(("score", "--outputs", "given"), "test.safetensors", files)


def of_launches() -> Iterator[Case]:
    for name, variables in LAUNCHES:
        yield Case(("run", "--suite", "micro", "--methods", "zero-shot"), name, {}, variables)


@pytest.mark.parametrize("kind", [of_options, of_run_files, of_runs, of_outputs, of_launches])
def test_bad_input_is_one_clear_line(
    kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    wrong, cases = [], list(kind())
    for number, case in enumerate(cases):
        place = tmp_path / str(number)
        place.mkdir()
        monkeypatch.chdir(place)
        Path("file").write_text("mine")
        Path("loop").symlink_to("loop")
        if "given" in case.arguments:
            outputs_folder(Path("given"))
        for name, content in case.files.items():
            path = Path(name)
            path.parent.mkdir(exist_ok=True)
            path.mkdir() if content is None else path.write_bytes(content)
        with monkeypatch.context() as patched:
            for name, text in case.variables.items():
                patched.setenv(name, text)
            found = bench(*case.arguments)
        lines = found.err.splitlines()
        names = (case.names,) if isinstance(case.names, str) else case.names
        if (
            found.code not in (2, 4)
            or found.out
            or len(lines) != 1
            or len(lines[0]) >= 500
            or not lines[0].startswith("bench: ")
            or not lines[0].isprintable()
            or "internal error" in lines[0]
            or "Traceback" in lines[0]
            or not any(name in lines[0] for name in names)
        ):
            wrong.append((ascii(case)[:200], found.code, found.err[:300]))
    assert not wrong, f"{len(wrong)} of {len(cases)}:\n" + "\n".join(map(str, wrong[:20]))
