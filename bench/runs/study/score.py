"""The study of `bench score`: post-hoc methods on a folder of external outputs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.api.method import DEFAULT_BASE, GROUPS, ZERO_SHOT
from bench.api.recipes import Backbone, Classifier, External
from bench.api.registry import find_method
from bench.core.errors import InputError
from bench.core.paths import cache_dir
from bench.runs.study.config import RunConfig, load_config
from bench.runs.study.endpoints import Endpoints, GivenClassifier
from bench.runs.study.outputs_folder import FILE, load_outputs_folder
from bench.runs.study.resolve import further_metrics, protocol_of, requested_rows, with_shifts
from bench.runs.study.rows import Settings, all_row_names, parse_rows
from bench.runs.study.study import Study

GIVEN_DIGEST = "tag:outputs"
"""The digest of the backbone of outputs, which is not known."""

POST_HOC = "ose,vrf"
"""The default of ``--methods``."""


def score_study(folder: Path, options: Mapping[str, Any]) -> tuple[RunConfig, Study]:
    """Return the configuration and the study of `bench score` on `folder`.

    The names of `options` are the fields of `RunConfig`. Raises InputError for invalid options or
    outputs.
    """
    config = load_config(None, {**options, "methods": options.get("methods") or POST_HOC})
    outputs = load_outputs_folder(folder, cache_dir(config.cache_dir))
    form, rules = outputs.form, protocol_of(config)
    if form.selection is None and rules.selects == "selection":
        raise InputError(
            f"{folder / FILE}: selection: missing, but protocol {rules.name} chooses "
            "on the selection split: add the file, or use --protocol official"
        )
    untouched = External(form.models[ZERO_SHOT])
    bases = {
        _base_label(folder, row): GivenClassifier(External(model), "data that was not stated")
        for row, model in outputs.bases.items()
    }
    endpoints = Endpoints(form.model, Classifier(untouched, untouched), bases)
    endpoints.refuse(config.set)
    names = [n for name in config.methods for n in _expand_name(name, tuple(bases))]
    config = config.model_copy(
        update={"suite": (form.name,), "methods": tuple(dict.fromkeys([*bases, *names]))}
    )
    suite = with_shifts(outputs.suite, config)
    suite = suite.under(selects=rules.selects, share=rules.holdout, border=rules.objectnet_border)
    study = Study(
        suite=suite,
        backbone=Backbone(form.model, "", GIVEN_DIGEST),
        rows=tuple(endpoints.applied(r) for r in requested_rows(config, Settings(rules))),
        seeds=config.seeds,
        protocol=rules,
        precision="fp32",
        metrics=tuple(rules.metrics().values()),
        curves=config.controls or bool(config.curves),
        endpoints=endpoints,
        asked=further_metrics(config, rules),
    )
    return config, study


def _base_label(folder: Path, name: str) -> str:
    """Return the row label of a base. Raises InputError if `name` is not a fine-tuned model."""
    try:
        row = parse_rows([name], Settings())[-1]
    except InputError as error:
        raise InputError(f"{folder / FILE}: models: {error}") from error
    if row.base is not None or name == ZERO_SHOT:
        raise InputError(
            f"{folder / FILE}: models: {name!r} is not a fine-tuned model: expected a name such as "
            f"{DEFAULT_BASE}"
        )
    return row.label


def _expand_name(name: str, bases: tuple[str, ...]) -> list[str]:
    """Return the row names that `name` stands for.

    An ensemble without a base is run on every base; ``all`` is every method, and a group some.
    """
    if name in ("all", *GROUPS):
        owners = dict.fromkeys(row.partition(":")[0] for row in all_row_names(name))
        return [n for owner in owners for n in _expand_name(owner, bases)]
    owner = re.split("[:@+]", name)[0]
    if owner != name or find_method(owner).default_base is None:
        return [name]
    return [f"{name}:{base}" for base in bases]
