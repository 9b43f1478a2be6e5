"""Recipes: frozen, hashable values that describe how an encoder, head or classifier is made.

A classifier is an (encoder, head) pair. `bench.api.recipe_parts` reduces a recipe to the weights it
needs, so that recipes with the same encoder share its features. For example, zero-shot and a
linear probe have the same encoder, and a merge with weight 1 on one part is that part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from bench.api.reading import Reading
from bench.api.trainer import Keep
from bench.core.errors import InputError
from bench.core.hashing import KEYED_IF_SET, NOT_KEYED

if TYPE_CHECKING:
    from bench.api.trainer import Trainer


@dataclass(frozen=True)
class Backbone:
    """A CLIP model.

    Attributes
    ----------
    model : the open_clip model name.
    pretrained : the pretrained tag or the path of a checkpoint file. It is not part of keys.
    digest : identifies the weights: SHA-256 of a file, or ``tag:NAME``. It enters keys instead of
        `pretrained`, so nothing is recomputed if a checkpoint file is moved.
    reading : how a checkpoint file is read; None for a tag and for the embedded weights.

    Examples
    --------
    >>> from bench.api.recipes import Backbone
    >>> str(Backbone("ViT-B-32", "openai", "tag:openai"))
    'ViT-B-32/openai'
    """

    kind: ClassVar[str] = "Backbone"

    model: str
    pretrained: str = field(metadata=NOT_KEYED)
    digest: str
    reading: Reading | None = field(default=None, metadata=KEYED_IF_SET)

    def __str__(self) -> str:
        """The name in reports. A file appears by its name and digest, without its folder.

        What the user said of the file follows. A repository of the hub has its owner and commit.
        """
        if self.digest.startswith("tag:") or self.pretrained == "embedded":
            return f"{self.model}/{self.pretrained}"
        is_path = self.model != "hf-hub"
        named = PurePath(self.pretrained).name if is_path else self.pretrained
        name = f"{self.model}/{named}@{self.digest[:8]}"
        said = str(self.reading or "")
        return f"{name} ({said})" if said else name


@dataclass(frozen=True)
class Pretrained:
    """The pretrained image tower of a backbone.

    Examples
    --------
    >>> from bench.api.recipes import Backbone, Pretrained
    >>> Pretrained(Backbone("ViT-B-32", "openai", "tag:openai")).backbone.model
    'ViT-B-32'
    """

    kind: ClassVar[str] = "Pretrained"

    backbone: Backbone


@dataclass(frozen=True)
class TextHead:
    """The zero-shot head of a backbone: one weight row per class, zero bias.

    A class's row is exp(logit_scale) times the normalised mean, over templates, of the normalised
    text embeddings (wise-ft ``src/models/zeroshot.py``).

    Attributes
    ----------
    backbone : the CLIP model with the text tower.
    classnames, templates : each class name is inserted into each template.
    normalize : whether the head takes L2-normalised features.
    precision : ``fp32`` or ``bf16``, of the text tower's forward pass.

    Examples
    --------
    >>> from bench.api.recipes import Backbone, TextHead
    >>> backbone = Backbone("ViT-B-32", "openai", "tag:openai")
    >>> TextHead(backbone, ("cat", "dog"), ("a photo of a {}.",)).normalize
    True
    """

    kind: ClassVar[str] = "TextHead"

    backbone: Backbone
    classnames: tuple[str, ...]
    templates: tuple[str, ...]
    normalize: bool = True
    precision: str = "fp32"


@dataclass(frozen=True)
class BlankHead:
    """A head on raw features whose weights are all 0, of a backbone without a text tower.

    Trainings start from it; it is not stored.

    Attributes
    ----------
    backbone : the model that gives the features.
    classes, width : number of classes and of features.

    Examples
    --------
    >>> from bench.api.recipe_parts import normalizes
    >>> from bench.api.recipes import Backbone, BlankHead
    >>> normalizes(BlankHead(Backbone("timm:resnet18", "a1_in1k", "tag:a1_in1k"), 10, 512))
    False
    """

    kind: ClassVar[str] = "BlankHead"

    backbone: Backbone
    classes: int
    width: int


@dataclass(frozen=True)
class Imported:
    """A released classifier. Its weights were read from a file and are in the store.

    Attributes
    ----------
    backbone : the CLIP model from whose image tower it was made.
    digest : SHA-256 of the file.
    classes : number of classes of its head.
    normalize : whether its head takes L2-normalised features.
    trained_on : description of its fine-tuning data; empty if it was not fine-tuned.
    unseen : fingerprints of selection splits that are known not to be part of that data.

    Examples
    --------
    >>> from bench.api.recipe_parts import encoder_of, head_of
    >>> from bench.api.recipes import Backbone, Imported
    >>> backbone = Backbone("ViT-B-32", "openai", "tag:openai")
    >>> released = Imported(backbone, digest="0" * 64, classes=1000, normalize=True)
    >>> encoder_of(released) == head_of(released) == released
    True
    """

    kind: ClassVar[str] = "Imported"

    backbone: Backbone
    digest: str
    classes: int
    normalize: bool
    trained_on: str = field(default="", metadata=NOT_KEYED)
    unseen: tuple[str, ...] = field(default=(), metadata=NOT_KEYED)


@dataclass(frozen=True)
class External:
    """A classifier whose outputs were computed elsewhere; its weights are not known.

    The outputs are identified by the fingerprints of their splits, which are digests of the files.

    Attributes
    ----------
    model : its name in the files that hold the outputs.
    seed : None for the supplied outputs. A seed stands for another training run of the model, for
        which no outputs exist.

    Examples
    --------
    >>> from bench.api.recipe_parts import needs_outputs
    >>> from bench.api.recipes import External
    >>> External("e2e-ft"), needs_outputs(External("e2e-ft"))
    (External(model='e2e-ft', seed=None), True)
    """

    kind: ClassVar[str] = "External"

    model: str
    seed: int | None = None


@dataclass(frozen=True)
class Classifier:
    """An untrained (encoder, head) pair; with a `TextHead` it is the zero-shot classifier.

    Examples
    --------
    >>> from bench.api.recipe_parts import is_tuned, normalizes
    >>> from bench.api.recipes import Backbone, Classifier, Pretrained, TextHead
    >>> backbone = Backbone("ViT-B-32", "openai", "tag:openai")
    >>> head = TextHead(backbone, ("cat", "dog"), ("a photo of a {}.",))
    >>> zero_shot = Classifier(Pretrained(backbone), head)
    >>> is_tuned(zero_shot), normalizes(zero_shot)
    (False, True)
    """

    kind: ClassVar[str] = "Classifier"

    encoder: Pretrained | Imported | External
    head: TextHead | BlankHead | Imported | External


@dataclass(frozen=True)
class Tuned:
    """The result of training `start` with `trainer`.

    Attributes
    ----------
    start : the recipe that training starts from.
    trainer : the trainer with its hyper-parameters.
    train : fingerprint of the training split.
    seed : the training seed.
    selection : fingerprint of the selection split, for trainers that choose on it; else None.
    keep : which weights along the training run are meant; None for the last. Recipes that differ
        only in `keep` come from one training run.

    Examples
    --------
    >>> from bench.api.recipes import Tuned
    >>> from bench.api.trainer import GradientTrainer
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> Tuned(models.zero_shot, GradientTrainer(), "fake-train", seed=0) == models.base
    True
    """

    kind: ClassVar[str] = "Tuned"

    start: Recipe
    trainer: Trainer
    train: str
    seed: int
    selection: str | None = None
    keep: Keep | None = None

    @property
    def training(self) -> Tuned:
        """The training run that produces these weights: the same recipe with `keep` None."""
        return replace(self, keep=None)


@dataclass(frozen=True)
class Fisher:
    """The diagonal of a classifier's Fisher information, one value per entry of its weights.

    It is the mean squared gradient of the log-likelihood of a label sampled from the classifier's
    prediction.

    Attributes
    ----------
    of : the classifier.
    train : fingerprint of the split whose images are used: the training or the selection split.
    samples : number of images, taken in a fixed random order.

    Examples
    --------
    >>> from bench.api.recipes import Fisher
    >>> from bench.testing.fakes import fake_models
    >>> Fisher(fake_models().base, "fake-train", samples=1000).samples
    1000
    """

    kind: ClassVar[str] = "Fisher"

    of: Recipe
    train: str
    samples: int


class TensorWeights(Protocol):
    """A rule for merges in which every tensor has its own weights, such as one weight per layer.

    A frozen dataclass, whose fields enter keys. It may need the tensors themselves, but nothing
    besides: the image tower and the head of a merge are merged apart from each other.
    """

    def of(self, states: Sequence[Mapping[str, Any]]) -> Mapping[str, Sequence[float]]:
        """Return, for every tensor, one weight per part; they sum to 1.

        `states` has a state dict per part, all with the same names and shapes: the tensors of an
        image tower, in the order of the model, or the NumPy arrays ``head.weight`` and
        ``head.bias`` of a head. Raises CellError if the rule does not apply to such a tower.
        """
        ...


@dataclass(frozen=True)
class Merged:
    """Linear interpolation of the weights of `parts`. Create it with `merge` or `merge_tensors`.

    Attributes
    ----------
    parts : the recipes to merge.
    weights : one weight per part; none with `by_tensor`.
    fishers : empty, or one per part: each entry of a part's weights is also weighted by its Fisher
        information.
    floor : the smallest Fisher value used; smaller ones are raised to it.
    by_tensor : the rule for the weights of each tensor; None if all have the same.

    Examples
    --------
    >>> from bench.api.recipes import merge
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> merge((models.zero_shot, models.base), (0.3, 0.7)).weights
    (0.3, 0.7)
    """

    kind: ClassVar[str] = "Merged"

    parts: tuple[Recipe | Encoder | Head, ...]
    weights: tuple[float, ...]
    fishers: tuple[Fisher, ...] = ()
    floor: float = 0.0
    by_tensor: TensorWeights | None = field(default=None, metadata=KEYED_IF_SET)


T = TypeVar("T")
Recipe = Classifier | Tuned | Merged | Imported | External
Encoder = Pretrained | Tuned | Merged | Imported | External
Head = TextHead | BlankHead | Tuned | Merged | Imported | External


def merge(
    parts: Sequence[T],
    weights: Sequence[float],
    fishers: Sequence[Fisher] = (),
    floor: float = 0.0,
) -> T | Merged:
    """Return the weighted sum of `parts` in its simplest form.

    Parts with weight 0 are dropped and equal parts are combined; a single remaining part is
    returned as it is. `fishers` and `floor` are those of `Merged`. Raises InputError unless there
    is one finite weight per part and the weights sum to 1.

    Examples
    --------
    >>> from bench.api.recipes import Merged, merge
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> ends = (models.zero_shot, models.base)
    >>> merge(ends, (0.5, 0.5)) == Merged(ends, (0.5, 0.5)), merge(ends, (0, 1)) == models.base
    (True, True)
    """
    if len(parts) != len(weights) or not math.isclose(math.fsum(weights), 1.0, abs_tol=1e-9):
        raise InputError(f"merge weights {tuple(weights)} must be one per part and sum to 1")
    if fishers:
        used = [t for t in zip(parts, weights, fishers, strict=True) if t[1] != 0.0]
        if len({part for part, _, _ in used}) > 1:
            used_parts, used_weights, used_fishers = zip(*used, strict=True)
            return Merged(used_parts, used_weights, used_fishers, floor)
        return used[0][0]
    total: dict[T, float] = {}
    for part, weight in zip(parts, weights, strict=True):
        total[part] = total.get(part, 0.0) + weight
    nonzero = {part: weight for part, weight in total.items() if weight != 0.0}
    if len(nonzero) == 1:
        return next(iter(nonzero))
    return Merged(tuple(nonzero), tuple(nonzero.values()))  # type: ignore[arg-type]


def merge_tensors(parts: Sequence[T], rule: TensorWeights) -> T | Merged:
    """Return the merge of `parts` in which each tensor has the weights that `rule` gives it.

    If all parts are equal, it is that part, as the weights sum to 1.

    Examples
    --------
    >>> from bench.api.recipes import merge_tensors
    >>> from bench.methods.lines import LayerScaling
    >>> from bench.testing.fakes import fake_models
    >>> models = fake_models()
    >>> merge_tensors((models.zero_shot, models.base), LayerScaling(0.5)).by_tensor
    LayerScaling(alpha=0.5)
    >>> merge_tensors((models.base, models.base), LayerScaling(0.5)) == models.base
    True
    """
    if len(set(parts)) == 1:
        return parts[0]
    return Merged(tuple(parts), (), by_tensor=rule)  # type: ignore[arg-type]
