"""The options of a run as keyword arguments: those of ``bench run``, by the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypedDict

from bench.api.registry import load_plugin
from bench.core.errors import unknown_name
from bench.runs.study.config import RunConfig, load_config

Names = str | Sequence[str]
"""One name, several separated by commas, or a list of names."""


class RunOptions(TypedDict, total=False):
    """Options of `bench.run` and `bench.plan`; ``bench run --help`` explains each.

    What is left out, or None, has the command line's default. `config` is a YAML file with options,
    over which keyword arguments take precedence; `set` maps methods to hyper-parameters:
    ``{"vrf": {"p": 0.01}}``.

    Examples
    --------
    >>> import bench
    >>> from bench.front.options import RunOptions
    >>> options: RunOptions = {"suite": "micro", "methods": "ose", "set": {"ose": {"alphas": [0]}}}
    >>> bench.plan(**options).to_dict()["studies"][0]["rows"]
    ['zero-shot', 'e2e-ft', 'ose:e2e-ft']
    """

    config: str | Path | None
    suite: Names | None
    table: str | None
    methods: Names | None
    shifts: Names | None
    model: str | None
    pretrained: str | None
    imported: str | None
    seeds: int | Sequence[int] | str | None
    data: str | Path | None
    device: str | None
    executor: str | None
    precision: Literal["fp32", "bf16", "bf16-eval", "auto"] | None
    train_batch_size: int | None
    eval_batch_size: int | None
    micro_batch: int | None
    workers: int | None
    epoch_accuracy: bool | None
    allow_incomplete: bool | None
    limit: int | None
    shots: int | None
    templates: str | Path | None
    protocol: str | None
    select: str | None
    tune: Names | None
    trials: int | None
    controls: bool | None
    curves: bool | None
    metrics: Names | None
    set: Mapping[str, Mapping[str, Any]] | None
    out: str | Path | None
    overwrite: bool | None
    cache_dir: str | Path | None
    plugin: str | Path | Sequence[str | Path] | None
    tracker: Names | None


def config_of(options: Mapping[str, Any]) -> RunConfig:
    """Return the configuration of a run. Raises InputError for unknown options and bad values.

    Examples
    --------
    >>> from bench.front.options import config_of
    >>> config_of({"methods": "ose", "seeds": 2}).methods
    ('ose',)
    >>> config_of({"method": "ose"})
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: unknown option 'method': did you mean 'methods'? ...
    """
    known = RunOptions.__annotations__
    for name in options:
        if name not in known:
            raise unknown_name("option", name, known)
    given = {name: value for name, value in options.items() if value is not None}
    path, changes = given.pop("config", None), given.pop("set", {})
    texts = tuple(f"{m}.{p}={_text(v)}" for m, own in changes.items() for p, v in own.items())
    lists = {k: list(v) if isinstance(v, tuple | set) else v for k, v in given.items()}
    return load_config(None if path is None else Path(path), {**lists, "set": texts})


def load_plugins(files: str | Path | Sequence[str | Path]) -> None:
    """Import one plugin file or several. Raises InputError for one that cannot be used.

    Examples
    --------
    >>> from bench.front.options import load_plugins
    >>> load_plugins([])
    """
    for file in [files] if isinstance(files, str | Path) else files:
        load_plugin(file)


def _text(value: Any) -> str:
    """A hyper-parameter's value as the command line takes it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_text, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
