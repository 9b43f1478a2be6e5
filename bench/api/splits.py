"""Splits of images and their manifests: what stored outputs align to, and what is held out.

A manifest says of every sample its id, its acceptable labels and its groups. A split is a named,
fingerprinted sequence of images with one; it opens no file until it is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, unknown_name
from bench.core.hashing import NOT_KEYED, key_of

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class Manifest:
    """Sample ids, label sets and groups; every stored output aligns to it row by row.

    Attributes
    ----------
    ids : N unique strings.
    labels : int64 [N, L]. Row i lists the correct classes of sample i in the split's own label
        space; rows with fewer than L correct classes are filled up with -1. L is 1 except for
        multi-label frames. A row of -1 alone is a sample that no class of the space is right for,
        such as a cow where the task knows none: whatever is said of it is wrong.
    groups : group name (region, camera) -> int64 [N], the samples' codes. Videos have two: a
        frame's ``anchor`` is the code of the set it belongs to, one set around each annotated
        frame; its ``offset`` counts the frames from there: 0 for the anchor itself, which is in
        its set once, and anything from 1 to 10 for a neighbour if that is all that is known. A
        frame in two sets is two samples.
    names : group name -> what the codes 0, 1, ... stand for; not of every group.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or len(self.labels) != len(self.ids):
            raise InputError(
                f"manifest: labels {self.labels.shape} do not match {len(self.ids)} ids"
            )
        if (self.labels < -1).any() or ((self.labels[:, :1] < 0) & (self.labels >= 0)).any():
            raise InputError("manifest: labels are class indices, filled up with -1 at the end")
        for name, codes in self.groups.items():
            if codes.shape != (len(self.ids),):
                raise InputError(f"manifest: group {name} {codes.shape} of {len(self.ids)} ids")
        for name, names in self.names.items():
            codes = self.group(name)
            if len(codes) and not 0 <= codes.min() <= codes.max() < len(names):
                raise InputError(f"manifest: group {name} has codes beyond its {len(names)} names")

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def first(self) -> NDArray[np.int64]:
        """int64 [N]: each sample's first label, its only one outside multi-label frames; or -1."""
        return self.labels[:, 0]

    @property
    def ids_digest(self) -> str:
        """32 hex digits that name the ids in their order: equal where samples can be paired."""
        digest = hashlib.sha256()
        for name in self.ids:
            digest.update(name.encode() + b"\0")
        return digest.hexdigest()[:32]

    def group(self, name: str) -> NDArray[np.int64]:
        """int64 [N]: the samples' codes in a group. Raises InputError if there is none."""
        if name not in self.groups:
            raise unknown_name("group of samples", name, self.groups)
        return self.groups[name]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Manifest:
        """The manifest of the samples `rows`, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return Manifest(
            tuple(self.ids[i] for i in index),
            self.labels[index],
            {name: values[index] for name, values in self.groups.items()},
            self.names,
        )


def single_label(ids: Sequence[str], labels: Sequence[int] | NDArray[np.int64]) -> Manifest:
    """The manifest of a split with one label per sample."""
    return Manifest(tuple(ids), np.asarray(labels, dtype=np.int64).reshape(-1, 1))


def holdout(
    manifest: Manifest, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(rows kept, rows held out), each ascending; stratified by first label.

    Of a class with n samples, round(n * fraction) are held out, but at least one is held out
    (if n > 1) and one kept. They are those whose ids have the smallest hashes with `seed`, so
    that adding a sample moves at most one other of its class.
    """
    count = np.bincount(manifest.first)
    quota = np.minimum(np.maximum(np.rint(count * fraction).astype(np.int64), 1), count - 1)
    order = np.lexsort((_hashes(manifest.ids, seed), manifest.first))
    ordered = manifest.first[order]
    start = np.cumsum(count) - count
    rank = np.arange(len(order)) - start[ordered]
    held = np.zeros(len(order), dtype=bool)
    held[order] = rank < quota[ordered]
    return np.flatnonzero(~held), np.flatnonzero(held)


def _hashes(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    digests = (
        hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()[:8]
        for name in ids
    )
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


class Images(Protocol):
    """Random access to the images of a split, in manifest order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Image:
        """Image `index` as PIL, any mode. Raises DataError, naming it, if it cannot be read."""
        ...


@runtime_checkable
class LocatedImages(Protocol):
    """Images that say where each of them really lies, so that splits with a common one show."""

    def places(self) -> Mapping[str, Collection[Hashable]]:
        """{folder or file: what in it the images are}: both, joined, name an image.

        Links are followed.
        """
        ...


@dataclass(frozen=True)
class Loaded:
    """An opened split."""

    images: Images
    manifest: Manifest


@dataclass(frozen=True)
class Split:
    """A named set of samples, not yet opened.

    Attributes
    ----------
    name : such as ``mini/v2``, for people.
    fingerprint : identity of the content (ids, labels, groups, pixels); enters every key made
        from it.
    size : number of samples.
    load : opens the split; called only when pixels or labels are needed.
    given : for a split whose outputs were computed elsewhere: (model, kind) -> array [N, ...], kind
        being ``logits``, ``features`` or ``correct``. Raises CellError if there is none.
    fault : in words what it lacks of the data set it should be; empty if nothing. A run on it is
        refused, or marked in all outputs.
    of : the data set and its split that this is, by the names of the set's card, if it has one.
    """

    name: str = field(metadata=NOT_KEYED)
    fingerprint: str
    size: int
    load: Callable[[], Loaded] = field(metadata=NOT_KEYED, compare=False, repr=False)
    given: Callable[[str, str], NDArray[Any]] | None = field(
        default=None, metadata=NOT_KEYED, compare=False, repr=False
    )
    fault: str = field(default="", metadata=NOT_KEYED)
    of: tuple[str, str] | None = field(default=None, metadata=NOT_KEYED)

    @property
    def absent(self) -> bool:
        """Whether there is nothing to open (see `absent_split`)."""
        return not self.size

    def limited(self, count: int | None) -> Split:
        """At most `count` samples, evenly spaced over the canonical order; self if no fewer."""
        if count is None or count >= self.size:
            return self
        rows = np.linspace(0, self.size - 1, count).round().astype(np.int64)
        return self.take(rows, f"limit {count}")

    def held_out(self, share: float, seed: int = 0) -> tuple[Split, Split]:
        """What is left for training, and the selection split of a `share` of each class.

        Opens the split. Raises InputError if no class has two samples.
        """
        kept, held = holdout(self.load().manifest, share, seed)
        if not len(held):
            raise InputError(
                f"{self.name}: nothing to hold out: expected a class with two or more images"
            )
        how = f"holdout {share:g} seed {seed}"
        suite = self.name.rpartition("/")[0]
        selection = self.take(held, f"selection: {how}")
        return self.take(kept, f"train: {how}"), replace(selection, name=f"{suite}/selection")

    def few(self, shots: int | None) -> Split:
        """The first `shots` samples of each class in a random order, always the same; opens it.

        Raises InputError if a class has fewer.
        """
        if shots is None:
            return self
        labels = self.load().manifest.first
        order = np.random.Generator(np.random.Philox(key=0)).permutation(self.size)
        ranked = order[np.argsort(labels[order], kind="stable")]
        classes, starts, counts = np.unique(labels[ranked], return_index=True, return_counts=True)
        if counts.min() < shots:
            fewest = classes[counts.argmin()]
            raise InputError(
                f"{self.name}: class {fewest} has {counts.min()} samples, not {shots} shots"
            )
        rows = np.concatenate([ranked[start : start + shots] for start in starts])
        return self.take(np.sort(rows), f"{shots} shots")

    def cut(self, border: int) -> Split:
        """The same samples with `border` pixels cut from each side; self for none."""
        if not border:
            return self

        def load() -> Loaded:
            whole = self.load()
            return Loaded(_Cut(whole.images, border), whole.manifest)

        return replace(self, fingerprint=key_of(self.fingerprint, "border", border), load=load)

    def take(self, rows: NDArray[np.int64], how: str) -> Split:
        """The samples `rows` in that order; `how` says in words how they were chosen."""

        def load() -> Loaded:
            whole = self.load()
            return Loaded(_Subset(whole.images, rows), whole.manifest.take(rows))

        order = hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()
        mark = key_of(self.fingerprint, how, order)
        whole = self.given
        given = None if whole is None else lambda model, kind: whole(model, kind)[rows]
        return replace(self, fingerprint=mark, size=len(rows), load=load, given=given)


def absent_split(name: str, reason: str) -> Split:
    """A split that is not there: whoever opens it gets `reason` as InputError.

    It lets a suite be used for what needs no training data: zero-shot, imported classifiers.
    """

    def load() -> Loaded:
        raise InputError(reason)

    return Split(name, key_of("absent", name), 0, load)


@dataclass(frozen=True)
class _Subset:
    images: Images
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Image:
        return self.images[int(self.rows[index])]


@dataclass(frozen=True)
class _Cut:
    images: Images
    border: int

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Image:
        image, b = self.images[index], self.border
        if min(image.size) <= 2 * b:
            raise InputError(f"image {index} of {image.size} pixels has no border of {b} to cut")
        return image.crop((b, b, image.width - b, image.height - b))
