"""The inputs that a run's folder keeps, so that the run can be checked and repeated from anywhere.

``inputs/`` holds copies of the suite files, of the class names and templates that they read, and of
the file of ``--templates``. ``places.json`` says where data and cache were on the machine of the
run; it is no result and may be deleted, or left out when a run is published. An object store that
it names is not asked, as others may have written it: name it with ``--cache-dir``.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from bench.core.errors import InputError, escape_control
from bench.core.foreign.documents import read_json
from bench.core.paths import (
    cache_address,
    cache_dir,
    data_dir,
    default_cache_dir,
    write_atomic,
)
from bench.data.suites.corruptions import parse_corruptions
from bench.data.suites.yaml_schema import is_suite_file, read_suite_file
from bench.runs.study.config import RunConfig

log = logging.getLogger("bench")
FOLDER = "inputs"
PLACES = "places.json"


@dataclass(frozen=True)
class KeptInputs:
    """What a run's folder knows of the inputs.

    `options` replace those of the run's configuration. `origins` has, for each kept suite file, the
    folder that its relative paths start from. `outputs` is the folder that `bench score` read.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, Path] = field(default_factory=dict)
    outputs: str | None = None


@dataclass(frozen=True)
class InputCopies:
    """What a run's folder will keep of the inputs, as they were when the run began.

    A run may take days, in which suite files and templates are edited or moved.

    Attributes
    ----------
    files : {place in the run's folder: content}.
    places : the content of ``places.json``; empty for a built-in suite with the default folders.
    """

    files: Mapping[str, bytes] = field(default_factory=dict)
    places: Mapping[str, Any] = field(default_factory=dict)

    def write(self, run: Path) -> None:
        """Write the copies and the places into the folder of a run."""
        for place, content in self.files.items():
            write_atomic(run / place, content)
        if self.places:
            text = json.dumps(self.places, indent=1, sort_keys=True) + "\n"
            write_atomic(run / PLACES, text.encode())


def copy_inputs(config: RunConfig, outputs: Path | None = None) -> InputCopies:
    """Read suite files, class names and templates of a run, and the places of the rest.

    `outputs` is the folder that `bench score` reads. Raises InputError if a file cannot be read.
    """
    places: dict[str, Any] = {}
    files: dict[str, bytes] = {}
    data, cache = data_dir(config.data), cache_dir(config.cache_dir)
    if data is not None:
        places["data"] = str(data.resolve())
    if address := cache_address(config.cache_dir):
        places["cache_dir"] = address
    elif cache.resolve() != default_cache_dir().resolve():
        places["cache_dir"] = str(cache.resolve())
    if config.pretrained is not None and Path(config.pretrained).expanduser().is_file():
        places["pretrained"] = str(Path(config.pretrained).expanduser().resolve())
    if outputs is not None:
        places["outputs"] = str(outputs.resolve())
    suites: dict[str, Any] = {}
    try:
        for name in config.suite:
            plain, _ = parse_corruptions(name)
            if is_suite_file(plain):
                path = Path(plain)
                kept = f"{FOLDER}/{read_suite_file(path).name}"
                for inner, source in _named_files(path, (() if data is None else (data,))):
                    files[f"{kept}/{inner.as_posix()}"] = source.read_bytes()
                folder = str(path.resolve().parent)
                suites[plain] = {"folder": folder, "kept": f"{kept}/{path.name}"}
        if config.templates is not None:
            places["templates"] = f"{FOLDER}/{config.templates.name}"
            files[places["templates"]] = config.templates.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {error.filename}: {error.strerror}") from error
    return InputCopies(files, places | ({"suites": suites} if suites else {}))


def _named_files(path: Path, data: tuple[Path, ...]) -> Iterator[tuple[PurePath, Path]]:
    """Yield a suite file and the files of names that it reads: (place in the copy, file)."""
    yield PurePath(path.name), path
    form = read_suite_file(path)
    for raw in (form.classes, form.templates):
        inner = PurePath(raw["file"]) if isinstance(raw, dict) and set(raw) == {"file"} else None
        if inner is not None and not inner.is_absolute() and ".." not in inner.parts:
            found = [base / inner for base in (*data, path.parent) if (base / inner).is_file()]
            yield from ((inner, file) for file in found[:1])


def kept_inputs(run: Path, config: Mapping[str, Any]) -> KeptInputs:
    """Return what the folder of a run knows of the inputs of its `config`; nothing if it is old.

    A suite file or templates that have changed since are said to have, in a warning; the kept
    copies are used. Raises InputError if ``places.json`` cannot be read.
    """
    path = run / PLACES
    if not path.is_file():
        return KeptInputs()
    try:
        places = dict(read_json(path))
        suites = {str(n): (Path(s["folder"]), _inside(run, s["kept"]))
                  for n, s in places.get("suites", {}).items()}  # fmt: skip
        outside = ("data", "cache_dir", "pretrained")
        options = {n: places[n] for n in outside if n in places and Path(places[n]).exists()}
        templates = _inside(run, places["templates"]) if "templates" in places else None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not the places of a run's inputs: delete it") from error
    names, origins = [], {}
    for name in config.get("suite", ()):
        plain, _ = parse_corruptions(name)
        folder, copy = suites.get(plain, (Path(), Path()))
        if plain in suites and copy.is_file():
            _say_if_changed(folder / Path(plain).name, copy)
            origins[str(copy)] = folder
            name = str(copy) + name.removeprefix(plain)
        names.append(name)
    found: dict[str, Any] = {**options, **({"suite": names} if origins else {})}
    if templates is not None and templates.is_file():
        _say_if_changed(Path(config["templates"]), templates)
        found["templates"] = templates
    scored = places.get("outputs")
    return KeptInputs(found, origins, None if scored is None else str(scored))


def _inside(run: Path, place: str) -> Path:
    """Return the path of a copy. Raises ValueError if it is not below the run's folder."""
    if PurePath(place).is_absolute() or ".." in PurePath(place).parts:
        raise ValueError(place)
    return run / place


def _say_if_changed(file: Path, copy: Path) -> None:
    if file.is_file() and file.read_bytes() != copy.read_bytes():
        said = f"{file} has changed since the run: its copy of then, {copy}, is used"
        log.warning("%s", escape_control(said))
