"""Where bench measures what published tables report: suites, shifts, means and backbones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Counterpart:
    """The suite and shift on which bench measures a published data set.

    `card` and `split` identify the data set card (`bench.data.cards`) with its number of images;
    `card` is None if records of the set do not count images.

    Examples
    --------
    >>> from bench.leaderboard.published.places import PLACES
    >>> PLACES["imagenet-v2"]
    Counterpart(suite='imagenet', shift='v2', card='imagenet-v2', split='test')
    """

    suite: str
    shift: str
    card: str | None = None
    split: str = "test"


PLACES: Mapping[str, Counterpart] = {
    "imagenet": Counterpart("imagenet", "id", "imagenet", "val"),
    "imagenet-v2": Counterpart("imagenet", "v2", "imagenet-v2"),
    "imagenet-sketch": Counterpart("imagenet", "sketch", "imagenet-sketch"),
    "imagenet-a": Counterpart("imagenet", "a", "imagenet-a"),
    "imagenet-r": Counterpart("imagenet", "r", "imagenet-r"),
    "objectnet": Counterpart("imagenet", "objectnet", "objectnet"),
    "imagenet-vid-robust": Counterpart("imagenet", "vid-robust"),
    "ytbb-robust": Counterpart("imagenet", "ytbb"),
    "cifar-10": Counterpart("cifar10", "id", "cifar-10"),
    "cifar-10.1": Counterpart("cifar10", "10.1", "cifar-10.1"),
    "cifar-10.2": Counterpart("cifar10", "10.2", "cifar-10.2"),
    "stl-10 (monkey removed)": Counterpart("cifar10", "stl10", "stl-10", "test_without_monkey"),
    "fmow-id-test": Counterpart("fmow", "id", "wilds-fmow", "id_test"),
    "fmow-ood-test": Counterpart("fmow", "ood", "wilds-fmow", "ood_test"),
    "iwildcam-id-test": Counterpart("iwildcam", "id", "wilds-iwildcam", "id_test"),
    "iwildcam-ood-test": Counterpart("iwildcam", "ood", "wilds-iwildcam", "ood_test"),
    "entity30-source": Counterpart("entity30", "id", "entity-30", "source_val"),
    "entity30-target": Counterpart("entity30", "target", "entity-30", "target_val"),
    "cifar-100": Counterpart("cifar100", "id", "cifar-100"),
    "stanford-cars": Counterpart("cars", "id", "stanford-cars"),
    "dtd": Counterpart("dtd", "id", "dtd"),
    "sun397": Counterpart("sun397", "id", "sun397"),
    "food-101": Counterpart("food101", "id", "food-101"),
}
"""The suite and shift of bench for each data set of the published tables."""
MEANS: Mapping[str, tuple[str, ...]] = {
    "avg5": ("imagenet-v2", "imagenet-sketch", "imagenet-a", "imagenet-r", "objectnet"),
    "avg-ref-shifts": ("imagenet", "avg5"),
}
"""Columns that are plain means of other columns."""
MODELS: Mapping[str, str] = {
    "RN50": "RN50/openai",
    "ViT-B/16": "ViT-B-16/openai",
    "ViT-B/16 (LAION-400M)": "ViT-B-16/laion400m_e32",
    "ViT-B/32": "ViT-B-32/openai",
    "ViT-B/32 (LAION-400M)": "ViT-B-32-quickgelu/laion400m_e32",
    "ViT-L/14": "ViT-L-14/openai",
    "ViT-L/14@336": "ViT-L-14-336/openai",
}
"""The names of the backbones in records."""
