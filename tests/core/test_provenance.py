"""What records state about the machine that made them."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

import pytest

from bench.core import environment as provenance


def test_the_processor_is_named_by_its_model(tmp_path: Path) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Some  CPU @ 2.10GHz\n\nmodel name\t: Other\n")
    assert provenance._cpu(info) == "Some CPU @ 2.10GHz"


def test_where_the_system_names_none_python_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert provenance._cpu(tmp_path / "none") == "arm"
    (tmp_path / "cpuinfo").write_text("Hardware\t: BCM2835\n")
    assert provenance._cpu(tmp_path / "cpuinfo") == "arm"


def test_a_machine_without_a_name_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    hardware = {}
    for name in ("Some CPU", ""):
        monkeypatch.setattr(provenance, "_cpu", lambda name=name: name)
        hardware[name] = provenance.environment.__wrapped__()["hardware"]
    assert hardware["Some CPU"] == {**hardware[""], "cpu": "Some CPU"}
    assert set(hardware[""]) == {"machine", "cpus"}


def test_an_untracked_plugin_marks_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "bench" / "core"
    package.mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init", "-q"), ("add", "."), (*who, "commit", "-q", "-m", "first")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "__file__", str(package / "environment.py"))
    clean = provenance._commit()
    assert clean is not None and len(clean) == 40
    (tmp_path / "methods").mkdir()
    (tmp_path / "methods" / "mine.py").write_text("")
    assert provenance._commit() == f"{clean}-modified"
