"""Resolve a configuration into studies: find suites, identify backbones, configure rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from bench.api.dataset import Dataset, Suite
from bench.api.method import PROBE, ZERO_SHOT
from bench.api.metrics import FURTHER, METRICS, OWN, Metric, asked_metrics
from bench.api.protocol import Protocol, protocol_with
from bench.api.reading import Reading, parse_reading
from bench.api.recipe_parts import backbone_of
from bench.api.recipes import Backbone
from bench.api.registry import ALIASES, datasets, find_dataset, find_method
from bench.core.errors import DataError, InputError, unknown_name
from bench.core.parameters import parameters, search_spans
from bench.core.paths import cache_dir, data_dir, local_path
from bench.core.store.opening import store_at
from bench.data import prompts
from bench.data.copies import naming_copies
from bench.data.suites import corruptions
from bench.data.suites.from_yaml import load_suite_file
from bench.data.suites.yaml_schema import is_suite_file
from bench.leaderboard.robustness import DERIVED
from bench.models.clip import default_weights, identify_backbone
from bench.models.sources.configurations import features_without_text, pretraining_loss
from bench.models.sources.released_tags import TINY
from bench.runs.study.config import RunConfig
from bench.runs.study.endpoints import Endpoints, leak_reason
from bench.runs.study.imported import read_import
from bench.runs.study.rows import (
    Row,
    Settings,
    TrainingSize,
    control_names,
    control_parameters,
    parse_rows,
    without_text,
)
from bench.runs.study.study import Study
from bench.runs.study.tuning import Searched, Tuning

RESERVED = frozenset({"protocol", "model"})
"""What ``--set`` takes besides methods."""

EMBEDDED = frozenset({"mini", "micro"})
"""Suites that need no data; ``--suite available`` takes them only if no other is available."""


def resolve_studies(
    config: RunConfig, origins: Mapping[str, Path] = MappingProxyType({})
) -> tuple[Study, ...]:
    """Return one study per suite; repeated names count once. Raises InputError for wrong names.

    `origins` has the folders that copies of suite files come from, by the paths of the copies.
    """
    cache, data = cache_dir(config.cache_dir), data_dir(config.data)
    suites: dict[str, Suite] = {}
    for suite in (s for name in config.suite for s in find_suites(name, data, cache, origins)):
        if suites.setdefault(suite.name, suite) != suite:
            raise InputError(
                f"--suite: two different suites are named {suite.name!r}: rename one of them"
            )
    return tuple(_study(suite, config, cache) for suite in suites.values())


def find_suites(
    name: str,
    data: Path | None,
    cache: Path,
    origins: Mapping[str, Path] = MappingProxyType({}),
) -> list[Suite]:
    """Return the suites that `name` stands for.

    `name` is a suite, the path of a suite file, an alias of several suites, or ``available`` for
    all suites whose data is found. ``+corruptions`` may follow. Raises InputError if the name is
    unknown, the file is invalid or the data is not found.
    """
    plain, severities = corruptions.parse_corruptions(name)
    found = _find_plain(plain, data, cache, origins)
    if not severities:
        return found
    return [corruptions.with_corruptions(suite, severities) for suite in found]


def _find_plain(
    name: str, data: Path | None, cache: Path, origins: Mapping[str, Path]
) -> list[Suite]:
    """Return the suites of a name without ``+corruptions``."""
    if name == "available":
        known = [d() for d in datasets().values() if d.name not in EMBEDDED]
        found = [_usable(d, data, cache) for d in known if d.found(data)]
        return found or [find_dataset("mini")().suite(data, cache)]
    if is_suite_file(name):
        suite = load_suite_file(Path(name), data, cache, origins.get(name))
        if suite.name in datasets() or suite.name in ALIASES:
            raise InputError(
                f"{name}: {suite.name!r} is the name of a built-in suite: choose another name"
            )
        return [suite]
    if name in ALIASES:
        return [suite for own in ALIASES[name] for suite in _find_plain(own, data, cache, origins)]
    return [dataset_of(name).suite(data, cache)]


def _usable(dataset: Dataset, data: Path | None, cache: Path) -> Suite:
    """Return the suite of a data set that was found. Raises DataError if it cannot be opened."""
    try:
        return dataset.suite(data, cache)
    except InputError as error:
        raise DataError(
            f"suite {dataset.name} was found but cannot be used: {error}. Repair its data, or name "
            "the suites to run instead of 'available'"
        ) from error


def dataset_of(name: str) -> Dataset:
    """Return the data set of a suite's name; ``NAME=3`` is its third partition, if it has any."""
    plain, sign, number = name.partition("=")
    found = find_dataset(plain or name)
    if not sign:
        return found()
    count = getattr(found, "partitions", 0)
    if number not in map(str, range(1, count + 1)):
        valid = f"expected {plain}=1 to {plain}={count}" if count else f"use --suite {plain}"
        problem = f"no partition {number!r}" if count else "no partitions"
        raise InputError(f"suite {name}: {plain} has {problem}: {valid}")
    return found(partition=int(number))  # type: ignore[call-arg]


def partitions(name: str) -> tuple[str, ...]:
    """Return the names of all partitions of a suite, or only its own name if it has none."""
    count = getattr(find_dataset(name), "partitions", 0)
    return tuple(f"{name}={number}" for number in range(1, count + 1)) or (name,)


def _study(suite: Suite, config: RunConfig, cache: Path) -> Study:
    """Return the study of a suite as the configuration changes it. Raises InputError, DataError."""
    for method in suite.defaults:
        try:
            Settings(suite=suite.defaults).method(method)
        except InputError as error:
            raise InputError(f"defaults of suite {suite.name}: {error}") from error
    rules = protocol_of(config)
    suite = with_shifts(suite, config)
    notes = [*suite.notes, *_incomplete_notes(suite, config.allow_incomplete)]
    suite = _without_absent_shifts(suite)
    suite = suite.under(selects=rules.selects, share=rules.holdout, border=rules.objectnet_border)
    imported = None if config.imported is None else _imported_endpoints(config, suite, rules, cache)
    if config.templates is not None:
        suite = _with_templates(suite, config.templates)
    if config.shots is not None:
        suite = _with_shots(suite, config.shots)
    if config.limit is not None:
        suite = suite.limited(config.limit)
        notes.append(f"limit={config.limit}")
    suite = naming_copies(suite)
    if imported is None:
        reading = parse_reading(config.set.get("model", {}))
        identity = backbone_for(suite, config.model, config.pretrained, cache, reading)
    else:
        identity = backbone_of(imported.zero_shot)
    size = _training_size(suite, rules, identity)
    tuning = _tuning(config)
    loss, width = pretraining_loss(identity), features_without_text(identity)
    asked = Settings(rules, suite.task.name, suite.defaults, size, loss, tuning=tuning)
    said: tuple[str, ...] = ()
    if width is not None:
        config = config.model_copy(update={"methods": (PROBE, *config.methods)})
    rows = requested_rows(config, asked)
    if width is not None:
        rows, said = without_text(rows, str(identity))
    _needs_data(suite, rows)
    return Study(
        suite=suite,
        backbone=identity,
        rows=rows if imported is None else tuple(imported.applied(row) for row in rows),
        seeds=config.seeds,
        protocol=rules,
        precision="bf16" if config.precision in ("bf16", "bf16-eval") else "fp32",
        metrics=tuple(rules.metrics().values()),
        curves=config.controls or (suite.curves if config.curves is None else config.curves),
        notes=tuple(notes),
        endpoints=imported,
        caveats=(*_uneven_tuning(rows), *said),
        asked=further_metrics(config, rules),
        width=width,
    )


def _uneven_tuning(rows: Sequence[Row]) -> tuple[str, ...]:
    """Return what is to be said of a run in which only some of the trained rows are tuned."""
    alone = [row for row in rows if row.base is None and search_spans(row.method)]
    tuned = [row.label for row in rows if isinstance(row.method, Searched)]
    others = [row.label for row in alone if row.label not in tuned]
    if not tuned or not others:
        return ()
    return (
        f"Only {', '.join(tuned)} had hyper-parameters searched; {', '.join(others)} did not, so "
        "the comparison favours the former.",
    )


def _tuning(config: RunConfig) -> Tuning:
    """Return what ``--tune`` and ``--trials`` ask for. Raises InputError if one is missing."""
    if config.tune and config.trials is None:
        raise InputError("--tune needs --trials N: the same number for every method, such as 16")
    if config.trials is not None and not config.tune:
        raise InputError("--trials needs --tune METHOD: the methods to tune, such as e2e-ft")
    for name in config.tune:
        find_method(name)
    return Tuning(config.tune, config.trials or 0)


def _training_size(suite: Suite, rules: Protocol, backbone: Backbone) -> TrainingSize | None:
    """Return what recipes are fitted to; None for suites and protocols that settle them."""
    images = suite.task.train.size
    if not suite.fits_recipes or rules.settings == "official" or not images:
        return None
    return TrainingSize(images, small=backbone.model == TINY)


def _with_shots(suite: Suite, shots: int) -> Suite:
    """Return the suite with `shots` training images per class, and no more of the selection split.

    With more, choices would use data that the few-shot task does not have. A selection split that
    is the test set stays whole.
    """
    train, selection = suite.task.train.few(shots), suite.task.selection
    if not selection.absent and selection != suite.test:
        few = selection.few(shots, at_most=True)
        said = (
            f"--shots {shots} bounds the selection split, too: {few.size:,} of its "
            f"{selection.size:,} images are used, at most {shots} of each class."
        )
        selection = replace(few, caveats=(*few.caveats, said))
    task = replace(suite.task, train=train, selection=selection)
    return replace(suite, name=f"{suite.name}, {shots} shots", task=task)


def backbone_for(
    suite: Suite,
    model: str | None,
    pretrained: str | None,
    cache: Path,
    reading: Reading | None = None,
) -> Backbone:
    """Return the backbone of ``--model`` and ``--pretrained``, or else that of the suite.

    Raises InputError if a model is given alone, except ``tiny``, which has its own weights.
    """
    if model is None or model == suite.model:
        model, own = suite.model, suite.pretrained
    else:
        own = pretrained or default_weights(model)
    chosen = pretrained or own
    local_path(chosen, f"pretrained weights of suite {suite.name}")
    return identify_backbone(model, chosen, cache, reading)


def _with_templates(suite: Suite, path: Path) -> Suite:
    """Return the suite with the templates of a file. Raises InputError if the file is invalid."""
    name = suite.task.name.partition("=")[0]  # "dtd" for the partition dtd=3
    task = replace(suite.task, templates=prompts.read_templates(path, name))
    digest = prompts.templates_digest(path)[:8]
    described = f"{len(task.templates)} templates of {path.name} (SHA-256 {digest}...)"
    own = f"; without --templates: {suite.prompts}" if suite.prompts else ""
    return replace(suite, task=task, prompts=f"{described}{own}")


def _imported_endpoints(config: RunConfig, suite: Suite, rules: Protocol, cache: Path) -> Endpoints:
    """Return the classifiers of ``--imported``, checked against the rest of the configuration.

    Raises InputError if the backbone or the classes differ from those of the import, and if the
    protocol chooses on a selection split that the checkpoint may have seen.
    """
    found = read_import(store_at(config.cache_dir), config.imported or "")
    if config.templates is not None:
        raise InputError(
            f"--templates: the zero-shot head of --imported {found.name} is fixed: leave "
            "--templates out"
        )
    if suite.task.classnames != found.classes:
        raise InputError(
            f"--imported {found.name}: its {len(found.classes)} classes differ from the "
            f"{len(suite.task.classnames)} of suite {suite.name}: run bench import with --suite "
            f"{suite.name}"
        )
    if config.set.get("model"):
        raise InputError(
            f"--set model.FIELD: the model of --imported {found.name} was read at the import: "
            "leave the option out"
        )
    model = config.model or found.model
    identity = identify_backbone(model, config.pretrained or found.pretrained, cache)
    if (identity.model, identity.digest) != (found.model, found.backbone_digest):
        raise InputError(
            f"--imported {found.name} was made with {found.backbone}, not with {identity}: leave "
            "--model and --pretrained out, or run bench import with that model"
        )
    endpoints = found.endpoints(identity)
    endpoints.refuse(config.set)
    for given in endpoints.bases.values() if rules.selects == "selection" else ():
        if reason := leak_reason(given.classifier, suite.task):
            raise InputError(
                f"protocol {rules.name} chooses on {suite.task.selection.name}, but {reason}: use "
                "--protocol official, or a suite whose selection split was not used for training "
                "and import with --selection-unseen"
            )
    return endpoints


def _incomplete_notes(suite: Suite, allowed: bool) -> list[str]:
    """Return notes on incomplete data of the suite. Raises DataError unless it is `allowed`."""
    if suite.faults and not allowed:
        raise DataError(
            f"suite {suite.name}: incomplete data: {'; '.join(suite.faults)}. Complete the data "
            "('bench data verify' lists what is wrong), or use --allow-incomplete, which marks "
            "every number as incomplete"
        )
    return [f"incomplete data: {fault}" for fault in suite.faults]


def _without_absent_shifts(suite: Suite) -> Suite:
    """Return the suite without the shifts whose data is absent."""
    broken = {s.name: s.split.fault for s in suite.shifts if s.split.absent}
    shifts = tuple(s for s in suite.shifts if s.name not in broken)
    return replace(suite, shifts=shifts, lacking={**suite.lacking, **broken})


def _needs_data(suite: Suite, rows: Sequence[Row]) -> None:
    """Raise InputError, before any work, if rows need ID splits whose data is absent."""
    if any(row.name != ZERO_SHOT for row in rows):
        for split in (suite.task.train, suite.task.selection):
            if split.absent:
                split.load()


def protocol_of(config: RunConfig) -> Protocol:
    """Return the protocol of a run, with ``--set protocol.FIELD`` and ``--select`` applied."""
    changes = dict(config.set.get("protocol", {}))
    if config.select is not None:
        changes["rule"] = config.select
    return protocol_with(config.protocol, changes)


def further_metrics(config: RunConfig, rules: Protocol) -> tuple[Metric, ...]:
    """Return the metrics of ``--metrics`` that are measured, not those that a report derives.

    Raises InputError for a name that is not offered.
    """
    measured = [name for name in config.metrics if name not in DERIVED]
    try:
        for name in sorted(set(measured) - METRICS.keys() - OWN.keys() - FURTHER.keys()):
            raise unknown_name("further metric", name, (*FURTHER, *DERIVED))
        return asked_metrics(measured, rules.ece_bins)
    except InputError as error:
        raise InputError(f"--metrics: {error}") from error


def with_shifts(suite: Suite, config: RunConfig) -> Suite:
    """Return the suite with only the shifts of ``--shifts``."""
    if tuple(config.shifts) == ("all",):
        return suite
    if "all" in config.shifts:
        raise InputError("--shifts: expected either names or 'all', not both")
    return suite.only(config.shifts)


def requested_rows(config: RunConfig, settings: Settings) -> tuple[Row, ...]:
    """Return the requested rows, and with ``--controls`` the controls of their methods.

    Applies ``--set`` and, to every trained method, ``--precision`` and ``--train-batch-size``.
    """
    names = list(config.methods)
    own = {m: dict(p) for m, p in config.set.items() if m not in RESERVED}
    if config.controls:
        asked = parse_rows(names, settings)
        names += control_names(asked)
        for name, changes in control_parameters(asked, own).items():
            own[name] = changes | own.get(name, {})
    both = config.precision if config.precision in ("fp32", "bf16") else None
    options = {"precision": both, "batch_size": config.train_batch_size}
    general = {name: value for name, value in options.items() if value is not None}
    for row in parse_rows(names, settings):
        name = re.split("[@+]", row.label)[0]
        known = parameters(settings.method(name))
        fitting = {n: general[p] for n in known if (p := n.rpartition(".")[2]) in general}
        if fitting:
            own[name] = fitting | own.get(name, {})
    return parse_rows(names, replace(settings, overrides=own))
