"""The workflow that users copy, and our own: what they call exists."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from record_golden import golden

from bench.cli import cli
from bench.errors import InputError
from bench.golden import compare, find
from bench.records import read

ROOT = Path(__file__).parent.parent
WORKFLOW = yaml.safe_load((ROOT / "docs" / "ci" / "bench-check.yml").read_text())


def commands(job: dict[str, Any]) -> list[list[str]]:
    """The command lines of a job, in order."""
    return [shlex.split(step["run"], comments=True) for step in job["steps"] if "run" in step]


def test_the_workflow_is_one_of_github() -> None:
    assert True in WORKFLOW, "YAML 1.1 reads the key 'on' as true"
    assert set(WORKFLOW["jobs"]) == {"golden", "results"}
    for job in WORKFLOW["jobs"].values():
        assert {"runs-on", "steps"} <= job.keys()
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])


@pytest.mark.parametrize("name", WORKFLOW["jobs"])
def test_the_commands_of_the_workflow_are_understood(name: str) -> None:
    install, *lines = commands(WORKFLOW["jobs"][name])
    assert install == ["pip", "install", "."] and lines
    for program, command, *arguments in lines:
        assert program == "bench"
        found = cli.commands[command]
        context = found.make_context(command, list(arguments))
        assert not context.args
        with pytest.raises(click.UsageError):
            found.make_context(command, [*arguments, "--unknown"])


def test_every_gate_is_in_the_workflow() -> None:
    lines = [line for job in WORKFLOW["jobs"].values() for line in commands(job)]
    checks = [line for line in lines if line[:2] in (["bench", "check"], ["bench", "compare"])]
    assert len(checks) == 3 and all("--junit" in line for line in checks)
    (run,) = [line for line in lines if line[:2] == ["bench", "run"]]
    assert run[:-2] == shlex.split(find("mini").command)


def test_a_golden_run_is_recorded_from_runs() -> None:
    folder = ROOT / "results" / "mini"
    made = golden("bench run --seeds 0,1,2", ["one", "other"], [folder, folder])
    assert (made.name, made.model, made.runs) == ("mini", "tiny/embedded", ("one", "other"))
    assert {v for group in made.deviations.values() for v in group.values()} == {0.0}
    assert all(one.holds for one in compare(made, read(folder / "records.jsonl")))
    with pytest.raises(InputError, match="no runs of the same command"):
        golden("bench run", ["one", "other"], [folder, ROOT / "results" / "vrf-table1"])
