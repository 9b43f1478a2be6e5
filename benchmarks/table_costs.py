"""Count what `bench reproduce` computes for each table on the real data, which need not be here.

    python benchmarks/table_costs.py [--device cuda]

The plans are those of synthetic copies, whose splits are taken to be as large as the data sets'
cards say. Counts, disk and memory follow from these sizes and from the model; the time is the guess
for a machine on which nothing was timed yet.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from bench.api.dataset import Suite
from bench.api.splits import Split
from bench.data.cards import cards
from bench.data.suites import common
from bench.datasets.imagenet import SHIFTS, VIDEOS
from bench.front.reproduce import costs_text, find_reproduction, stage_costs
from bench.leaderboard.published.layouts import PRESETS
from bench.runs.session import Session, prepare_session
from bench.testing.synthetic import make_copies


def full_size(suite: Suite) -> Suite:
    """Return the suite with the sizes of ImageNet and its shifts, without the videos."""
    known = cards()

    def sized(split: Split, card: str, part: str) -> Split:
        images = known[card].images[part]
        assert isinstance(images, int), f"{card} has no count of {part}"
        return replace(split, size=images)

    shifts = tuple(
        replace(shift, split=sized(shift.split, SHIFTS[shift.name], "test"))
        for shift in suite.shifts
        if shift.name not in VIDEOS
    )
    test = sized(suite.test, "imagenet", "val")
    train = sized(suite.task.train, "imagenet", "train")
    selection = test if suite.task.selection.name == suite.test.name else suite.task.selection
    task = replace(suite.task, train=train, selection=selection)
    return replace(suite, task=task, test=test, shifts=shifts)


def enlarged(session: Session) -> Session:
    """Return a session with the sizes of the real data sets."""
    studies = tuple(replace(study, suite=full_size(study.suite)) for study in session.studies)
    return replace(session, studies=studies)


def main() -> None:
    """Print the costs of all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--copies", type=Path, help="synthetic copies that are there already")
    of = parser.parse_args()
    common.smoke_defaults = dict  # settings as on the real data
    with tempfile.TemporaryDirectory() as folder:
        data = of.copies or Path(folder, "data")
        if of.copies is None:
            make_copies(data)
        for name in PRESETS:
            goal = find_reproduction(name)
            for number, model in enumerate(goal.models):
                named = dict(zip(("model", "pretrained"), model.split("/"), strict=True))
                where = {"data": data, "cache_dir": Path(folder, "cache"), "device": of.device}
                runs = goal.runs({**where, **named, "out": Path(folder, f"{name}-{number}")})
                sessions = [enlarged(prepare_session(run.config)) for run in runs]
                print(f"{goal.preset.title}, {model}")
                print(costs_text(stage_costs(list(zip(runs, sessions, strict=True)))), "\n")


if __name__ == "__main__":
    main()
