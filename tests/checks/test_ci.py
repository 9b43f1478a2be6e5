"""The CI workflow for users and our own: the commands and options they use exist."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Any

import browser
import click
import pytest
import yaml
from commands import bench
from places import ROOT
from record_golden import golden

from bench.checks.golden import compare_with_golden, find_golden
from bench.cli.main import cli
from bench.core.errors import InputError
from bench.core.records import read_records

WHO = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
WORKFLOW = yaml.safe_load((ROOT / "docs" / "ci" / "bench-check.yml").read_text())


def commands(job: dict[str, Any]) -> list[list[str]]:
    """Return the command lines of a job, in order, without the step ``before``."""
    steps = [step for step in job["steps"] if "run" in step and step.get("id") != "before"]
    return [shlex.split(step["run"], comments=True) for step in steps]


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
    assert run[:-2] == shlex.split(find_golden("mini").command)


def test_the_gate_of_results_reads_and_passes_what_is_committed() -> None:
    gate = yaml.safe_load((ROOT / ".github" / "workflows" / "results.yml").read_text())
    assert gate["permissions"] == {"contents": "read"}
    assert "permissions" not in gate["jobs"]["gate"]
    assert {"push", "pull_request"} == gate[True].keys()  # no event that gives others' code rights
    install, check = commands(gate["jobs"]["gate"])
    assert install[:2] == ["pip", "install"]
    found = ROOT.glob("results/*/records.jsonl")
    paths = sorted(str(path.relative_to(ROOT)) for path in found)
    assert check[:3] == ["bench", "check", "results/*/records.jsonl"] and len(paths) >= 5
    options = [one for one in check[3:] if one not in ("--junit", "results.xml")]
    result = bench("check", *(ROOT / path for path in paths), *options)
    assert result.code == 0, result.err


def test_results_are_compared_only_where_the_commit_before_has_some(tmp_path: Path) -> None:
    """Run the step on commits: without results, the first with results, one more, then none."""
    steps = {step.get("id"): step for step in WORKFLOW["jobs"]["results"]["steps"]}
    (compared,) = [
        s for s in WORKFLOW["jobs"]["results"]["steps"] if "bench compare" in s.get("run", "")
    ]
    assert compared["if"] == "steps.before.outputs.there == 'yes'"

    def git(*arguments: str) -> None:
        subprocess.run(["git", *WHO, *arguments], cwd=tmp_path, check=True, capture_output=True)

    def is_compared() -> bool:
        output = tmp_path.parent / "output"
        output.write_text("")
        environment = os.environ | {"GITHUB_OUTPUT": str(output)}
        lines = ["bash", "-e", "-c", steps["before"]["run"]]
        done = subprocess.run(
            lines, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        )
        assert ("::notice::" in done.stdout) == (output.read_text() == "")
        return output.read_text() == "there=yes\n"

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "nothing")
    assert not is_compared(), "the first commit of all"
    (tmp_path / "results" / "mini").mkdir(parents=True)
    (tmp_path / "results" / "mini" / "records.jsonl").write_text("")
    git("add", ".")
    git("commit", "-q", "-m", "results")
    assert not is_compared(), "the first commit with results"
    git("commit", "-q", "--allow-empty", "-m", "more")
    assert is_compared()
    git("rm", "-q", "-r", "results")
    git("commit", "-q", "-m", "no results")
    assert is_compared(), "missing results must reach the comparison, which fails"


def test_ci_fails_without_a_browser(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert f"export {browser.REQUIRED}=1\n" in (ROOT / ".ci" / "run").read_text()
    monkeypatch.setattr(browser, "BROWSERS", ())
    monkeypatch.delenv(browser.REQUIRED, raising=False)
    with pytest.raises(pytest.skip.Exception), browser.opened(tmp_path / "report.html"):
        pass
    monkeypatch.setenv(browser.REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception), browser.opened(tmp_path / "report.html"):
        pass


def test_a_golden_run_is_recorded_from_runs() -> None:
    folder = ROOT / "results" / "mini"
    made = golden("bench run --seeds 0,1,2", ["one", "other"], [folder, folder])
    assert (made.name, made.model, made.runs) == ("mini", "tiny/embedded", ("one", "other"))
    assert {v for group in made.deviations.values() for v in group.values()} == {0.0}
    assert all(
        one.holds for one in compare_with_golden(made, read_records(folder / "records.jsonl"))
    )
    with pytest.raises(InputError, match="not runs of the same command"):
        golden("bench run", ["one", "other"], [folder, ROOT / "results" / "vrf-table1"])
