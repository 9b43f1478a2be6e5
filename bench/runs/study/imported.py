"""Descriptions of imported classifiers, which `bench import` writes: ``imports/NAME.json``."""

from __future__ import annotations

from pathlib import Path

import pydantic

from bench.api.method import DEFAULT_BASE
from bench.api.reading import Reading
from bench.api.recipe_parts import weights_key
from bench.api.recipes import Backbone, Classifier, Imported, Pretrained
from bench.core.errors import InputError, unknown_name
from bench.core.foreign.files import read_bounded, reading
from bench.core.store import Store
from bench.data.suites.yaml_schema import Name
from bench.models.sources.named import EMBEDDED
from bench.runs.study.endpoints import Endpoints, GivenClassifier


class ImportedFile(pydantic.BaseModel):
    """The file that a classifier was read from: its name, for reference, and its SHA-256."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    file: str
    digest: str


class ImportedPair(pydantic.BaseModel):
    """A pair of released classifiers: zero-shot and fine-tuned.

    Attributes
    ----------
    model, pretrained, backbone_digest : the backbone of both classifiers.
    classes : names of the classes, in the order of the heads' rows.
    normalize : whether the heads take L2-normalised features.
    trained_on : description of the training data of `tuned`.
    unseen : fingerprints of selection splits that are not part of that training data.
    shares_encoder : whether the image tower of `zero_shot` equals the backbone's, bit for bit.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    name: Name
    model: str
    pretrained: str
    backbone_digest: str
    classes: tuple[str, ...]
    normalize: bool
    trained_on: str = pydantic.Field(min_length=1)
    unseen: tuple[str, ...]
    shares_encoder: bool
    zero_shot: ImportedFile
    tuned: ImportedFile

    @property
    def backbone(self) -> Backbone:
        """The backbone, with the location it had at the import."""
        is_file = not self.backbone_digest.startswith("tag:") and self.pretrained != EMBEDDED
        reading = Reading() if is_file else None
        return Backbone(self.model, self.pretrained, self.backbone_digest, reading)

    def untouched(self, backbone: Backbone) -> Imported:
        """Return the zero-shot classifier's recipe, with the backbone at its present location."""
        return Imported(backbone, self.zero_shot.digest, len(self.classes), self.normalize)

    def fine_tuned(self, backbone: Backbone) -> Imported:
        """Return the fine-tuned classifier's recipe, with the backbone at its present location."""
        kind = (len(self.classes), self.normalize)
        return Imported(backbone, self.tuned.digest, *kind, self.trained_on, self.unseen)

    def endpoints(self, backbone: Backbone) -> Endpoints:
        """Return the classifiers as endpoints; a shared image tower is taken from the backbone."""
        head, tuned = self.untouched(backbone), self.fine_tuned(backbone)
        encoder = Pretrained(backbone) if self.shares_encoder else head
        given = GivenClassifier(tuned, self.trained_on)
        model = f"{backbone}, imported {self.name}"
        return Endpoints(model, Classifier(encoder, head), {DEFAULT_BASE: given})


def read_import(store: Store, name: str) -> ImportedPair:
    """Return the import `name`. Raises InputError if it or its stored weights do not exist."""
    known = _names(store)
    if not known:
        raise InputError(f"--imported {name}: nothing was imported yet: run bench import first")
    if name not in known:
        raise unknown_name("import", name, known)
    found = _read(store, name)
    for recipe in (found.untouched(found.backbone), found.fine_tuned(found.backbone)):
        if not store.has("weights", weights_key(recipe)):
            raise InputError(
                f"import {name}: its weights are gone from the cache: run bench import again"
            )
    return found


def imported_keys(store: Store) -> set[str]:
    """Return the keys of all imported weights, which nothing but their files can make again.

    Raises InputError for a description that cannot be read.
    """
    pairs = [_read(store, name) for name in _names(store)]
    recipes = [r for p in pairs for r in (p.untouched(p.backbone), p.fine_tuned(p.backbone))]
    return {weights_key(recipe) for recipe in recipes}


def check_import_name(store: Store, made: ImportedPair) -> None:
    """Raise InputError if an import of other files has the same name."""
    path = store.files.fetched(_path(store, made.name))
    if path is None:
        return
    try:
        taken = ImportedPair.model_validate_json(read_bounded(path))
    except (OSError, ValueError):
        return
    if (taken.zero_shot.digest, taken.tuned.digest) != (made.zero_shot.digest, made.tuned.digest):
        raise InputError(f"--name {made.name} is taken by other files: choose another name")


def write_import(store: Store, made: ImportedPair) -> None:
    """Write the description of an import to the cache."""
    store.files.write(_path(store, made.name), made.model_dump_json(indent=1).encode())


def _names(store: Store) -> list[str]:
    found = store.files.names(store.root / "imports")
    return sorted(name.removesuffix(".json") for name in found if name.endswith(".json"))


def _read(store: Store, name: str) -> ImportedPair:
    path = _path(store, name)
    try:
        with reading(path):
            return ImportedPair.model_validate_json(read_bounded(store.files.fetched(path) or path))
    except ValueError as error:
        raise InputError(f"{path} is damaged: run bench import again to restore it") from error


def _path(store: Store, name: str) -> Path:
    return store.root / "imports" / f"{name}.json"
