"""The classifier head that a model's folder may have beside the model, as `bench export` writes it.

``classifier.json`` says what it is, and ``classifier.safetensors`` has its tensors. A folder with a
head of its own needs no prompts for its classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from bench.core.errors import InputError
from bench.core.foreign.documents import read_json

if TYPE_CHECKING:
    from torch import Tensor

DESCRIPTION, WEIGHTS = "classifier.json", "classifier.safetensors"
"""The two files of a classifier."""
VERSION = 1


class ClassifierFile(pydantic.BaseModel):
    """The content of ``classifier.json``.

    Attributes
    ----------
    row, suite, model, seed : what was exported: a row of a run, and the model it started from.
    classes : the names of the head's C classes, in the order of its rows.
    normalize : whether the head takes L2-normalised features.
    logit_scale : exp(logit_scale) of the CLIP model; the head's weights include it.
    logit_bias : the model's bias, which the head's includes; None for models without one.
    configuration : open_clip's configuration of the model; empty if it has none.
    preprocess : open_clip's preprocessing configuration.

    Examples
    --------
    >>> from bench.models.files.folder_head import ClassifierFile
    >>> made = ClassifierFile(row="e2e-ft", suite="mini", model="tiny/embedded", seed=0,
    ...                       classes=("star", "heart"), normalize=True)
    >>> made.format, made.version
    ('bench-classifier', 1)
    """

    model_config = pydantic.ConfigDict(frozen=True, strict=True, extra="forbid")

    format: Literal["bench-classifier"] = "bench-classifier"
    version: Literal[1] = 1
    row: str
    suite: str
    model: str
    seed: int | None = None
    classes: tuple[str, ...] = pydantic.Field(min_length=1, strict=False)
    normalize: bool
    logit_scale: float | None = None
    logit_bias: float | None = None
    configuration: dict[str, Any] = {}
    preprocess: dict[str, Any] = {}


@dataclass(frozen=True)
class FolderHead:
    """A head: `weight` float32 [C, D], `bias` float32 [C], and what it is.

    Examples
    --------
    >>> import torch
    >>> from bench.models.files.folder_head import ClassifierFile, FolderHead
    >>> said = ClassifierFile(row="e2e-ft", suite="mini", model="tiny/embedded",
    ...                       classes=("star", "heart"), normalize=True)
    >>> FolderHead(said, torch.zeros(2, 96), torch.zeros(2)).is_for(("star", "heart"))
    True
    """

    said: ClassifierFile
    weight: Tensor
    bias: Tensor

    def is_for(self, classes: tuple[str, ...]) -> bool:
        """Return whether its classes are these, in this order."""
        return self.said.classes == classes

    @property
    def caveat(self) -> str:
        """What a reader should know who sees it in the place of zero-shot."""
        said = self.said
        return (
            f"Zero-shot is the classifier that the model's folder has: {said.row} of {said.suite} "
            f"({said.model}). Its head was not made from prompts, and it may have been trained."
        )


def read_folder_head(folder: Path, width: int, name: str) -> FolderHead | None:
    """Return the head in a folder, for `width` features; None if it has none.

    Raises InputError, beginning with the model's `name`, if it is damaged or of another model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.files.folder_head import read_folder_head
    >>> read_folder_head(Path("nowhere"), 96, "--model local-dir:nowhere") is None
    True
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    found = read_json(path)
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > VERSION:
        raise InputError(f"{name}: {path.name} has version {version}: upgrade bench to read it")
    try:
        said = ClassifierFile.model_validate(found)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))[:80]
        raise InputError(
            f"{name}: {path.name} is no description of a classifier ({place}: {first['msg']}): "
            "export it again, or remove it to use prompts"
        ) from error
    return FolderHead(said, *_tensors(folder / WEIGHTS, len(said.classes), width, name))


def _tensors(path: Path, classes: int, width: int, name: str) -> tuple[Tensor, Tensor]:
    from bench.models.files.containers import read_candidates

    state = read_candidates(path).get("", {})
    shapes = {"head.weight": (classes, width), "head.bias": (classes,)}
    for part, shape in shapes.items():
        tensor = state.get(part)
        if tensor is None or not tensor.is_floating_point() or tuple(tensor.shape) != shape:
            there = "none" if tensor is None else f"{tensor.dtype} {tuple(tensor.shape)}"
            raise InputError(
                f"{name}: {path.name}: expected {part} as numbers of shape {shape}, got {there}: "
                "export it again"
            )
        if not tensor.isfinite().all():
            raise InputError(f"{name}: {path.name}: {part} has NaN or infinity: export it again")
    weight, bias = (state[part].float() for part in shapes)
    return weight, bias
