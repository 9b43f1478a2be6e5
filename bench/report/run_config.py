"""The ``config.json`` of a finished run, checked as far as reports and repeated runs read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic

from bench.core.errors import InputError
from bench.core.foreign.documents import read_json

CONFIG = "config.json"


class _Kinds(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")

    suite: list[str] = []
    table: str | None = None
    templates: str | None = None
    templates_sha256: str | None = None
    metrics: list[str] = []
    plugin: list[str] = []
    plugin_sha256: list[str] = []
    set: dict[str, dict[str, Any]] = {}


def read_config(folder: Path) -> dict[str, Any]:
    """Return the configuration of a finished run. Raises InputError for what is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.report.run_config import read_config
    >>> _ = Path("config.json").write_text('{"suite": ["mini"], "table": 3}')
    >>> read_config(Path("."))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: config.json is not the configuration of a run: table: Input ...
    """
    path = folder / CONFIG
    try:
        raw = read_json(path)
    except InputError as error:
        raise InputError(f"cannot read the configuration of a run: {error}") from error
    try:
        _Kinds.model_validate(raw)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) + ": " if first["loc"] else ""
        raise InputError(
            f"{path} is not the configuration of a run: {where}{first['msg']}: copy it again or "
            "run the suite again"
        ) from error
    found: dict[str, Any] = raw
    return found
