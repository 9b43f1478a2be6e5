"""Splits of images, their manifests, and hold-outs.

A manifest lists the id, the acceptable labels and the groups of every sample; stored outputs align
to it row by row. A split is a named, fingerprinted sequence of images with a manifest. It opens no
file until it is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, unknown_name
from bench.core.hashing import NOT_KEYED, key_of

if TYPE_CHECKING:
    from PIL.Image import Image

Given = Callable[[str, str, slice], NDArray[Any]]


@dataclass(frozen=True)
class Manifest:
    """Sample ids, label sets and groups of a split; stored outputs align to it row by row.

    Attributes
    ----------
    ids : N unique strings.
    labels : int64 [N, L]. Row i lists the correct classes of sample i in the split's own label
        space. Rows with fewer than L correct classes are padded with -1 at the end. L is 1 except
        for multi-label frames. A row of only -1 is a sample without a correct class, such as a cow
        if the task has no such class: every prediction for it is wrong.
    groups : group name (region, camera) -> int64 [N], the group code of each sample. Video frames
        have two groups. ``anchor`` is the code of the set of frames that a frame belongs to; there
        is one set around each annotated frame, the anchor. ``offset`` is the position relative to
        the anchor in frames: 0 for the anchor, which is in its set exactly once. If it is only
        known that a frame is a neighbour, any number from 1 to 10 may be used. A frame in two sets
        is two samples.
    names : group name -> names of the codes 0, 1, ...; some groups have none.

    Raises InputError if lengths, labels or codes do not match this description.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.splits import Manifest
    >>> manifest = Manifest(("a", "b"), np.array([[0, 2], [1, -1]]))  # a has two correct classes
    >>> len(manifest), manifest.first
    (2, array([0, 1]))
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    groups: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.labels.ndim != 2 or len(self.labels) != len(self.ids):
            raise InputError(
                f"manifest: labels have shape {self.labels.shape}, expected [N, L] with "
                f"N = {len(self.ids)}, the number of ids"
            )
        if (self.labels < -1).any() or ((self.labels[:, :1] < 0) & (self.labels >= 0)).any():
            raise InputError(
                "manifest: labels must be class indices, with -1 only as padding at the end of rows"
            )
        for name, codes in self.groups.items():
            if codes.shape != (len(self.ids),):
                raise InputError(
                    f"manifest: group {name} has shape {codes.shape}, expected ({len(self.ids)},)"
                )
        for name, names in self.names.items():
            codes = self.group(name)
            if len(codes) and not 0 <= codes.min() <= codes.max() < len(names):
                raise InputError(
                    f"manifest: group {name} has codes from {codes.min()} to {codes.max()}, "
                    f"expected 0 to {len(names) - 1} for its {len(names)} names"
                )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def first(self) -> NDArray[np.int64]:
        """Each sample's first label, int64 [N]; -1 if it has none."""
        return self.labels[:, 0]

    @property
    def ids_digest(self) -> str:
        """A digest (32 hex digits) of the ids in order. Equal digests allow paired comparisons."""
        digest = hashlib.sha256()
        for name in self.ids:
            digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
        return digest.hexdigest()[:32]

    def group(self, name: str) -> NDArray[np.int64]:
        """Return the samples' codes in a group, int64 [N].

        Raises InputError for an unknown group.
        """
        if name not in self.groups:
            raise unknown_name("group of samples", name, self.groups)
        return self.groups[name]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> Manifest:
        """Return the manifest of the samples `rows`, in that order."""
        index = np.asarray(rows, dtype=np.int64)
        return Manifest(
            tuple(self.ids[i] for i in index),
            self.labels[index],
            {name: values[index] for name, values in self.groups.items()},
            self.names,
        )


def single_label(ids: Sequence[str], labels: Sequence[int] | NDArray[np.int64]) -> Manifest:
    """Return the manifest of a split with one label per sample.

    Examples
    --------
    >>> from bench.api.splits import single_label
    >>> single_label(["a.png", "b.png"], [0, 1]).labels
    array([[0],
           [1]])
    """
    return Manifest(tuple(ids), np.asarray(labels, dtype=np.int64).reshape(-1, 1))


def holdout(
    manifest: Manifest, fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split samples in two, stratified by first label.

    Of a class with n samples, round(n * fraction) are held out, but at least one is held out
    (if n > 1) and at least one is not. The samples whose ids have the smallest hashes with `seed`
    are held out, so adding a sample to a class moves at most one other sample of that class.

    Returns (rows for training, rows held out), each in ascending order.

    Examples
    --------
    >>> from bench.api.splits import holdout, single_label
    >>> manifest = single_label([f"{i}.png" for i in range(20)], [0] * 10 + [1] * 10)
    >>> train, held_out = holdout(manifest, 0.2, seed=0)
    >>> len(train), manifest.first[held_out]
    (16, array([0, 0, 1, 1]))
    """
    count = np.bincount(manifest.first)
    quota = np.minimum(np.maximum(np.rint(count * fraction).astype(np.int64), 1), count - 1)
    order = np.lexsort((name_hashes(manifest.ids, seed), manifest.first))
    ordered = manifest.first[order]
    start = np.cumsum(count) - count
    rank = np.arange(len(order)) - start[ordered]
    held = np.zeros(len(order), dtype=bool)
    held[order] = rank < quota[ordered]
    return np.flatnonzero(~held), np.flatnonzero(held)


def name_hashes(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    """Return a number for each id: a hash of it with `seed`, by which samples are drawn.

    Examples
    --------
    >>> from bench.api.splits import name_hashes
    >>> name_hashes(["a.png"], seed=0)
    array([11289366447071838341], dtype=uint64)
    """
    digests = (
        hashlib.sha256(f"{seed}\0{name}".encode("utf-8", "surrogateescape")).digest()[:8]
        for name in ids
    )
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


class Images(Protocol):
    """Random access to the images of a split, in manifest order."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Image:
        """Return image `index` as a PIL image, best in RGB; any mode is made RGB before it is used.

        Raises DataError that names the image if it cannot be read.
        """
        ...


@runtime_checkable
class LocatedImages(Protocol):
    """Images with known locations, so that images shared by two splits can be detected."""

    def places(self) -> Mapping[str, Collection[Hashable]]:
        """Return {folder or file: locations of images in it}.

        The pair (folder or file, location) identifies an image. Symbolic links are resolved.
        """
        ...


@dataclass(frozen=True)
class Loaded:
    """An opened split: its images and their manifest.

    Examples
    --------
    >>> from PIL import Image
    >>> from bench.api.splits import Loaded, single_label
    >>> loaded = Loaded([Image.new("RGB", (8, 8))], single_label(["a.png"], [0]))
    >>> loaded.images[0].size, loaded.manifest.ids
    ((8, 8), ('a.png',))
    """

    images: Images
    manifest: Manifest


@dataclass(frozen=True)
class Split:
    """A named set of samples, not yet opened.

    Attributes
    ----------
    name : a readable name, such as ``mini/v2``. It is not part of keys.
    fingerprint : identifies the content (ids, labels, groups, pixels). It enters the keys of all
        outputs on this split.
    size : number of samples.
    load : opens the split; called only when pixels or labels are needed.
    given : for a split whose outputs were computed elsewhere, a function (model, kind, part) ->
        array, of the rows of the slice `part`, where kind is ``logits``, ``features`` or
        ``correct``. It raises CellError if there are no such outputs. None for other splits.
    fault : describes how the split differs from the data set it should be; empty if it does not. A
        run on a split with a fault is refused, or all its outputs are marked.
    of : (data set, split) as named in the data set's card; None if it has no card.
    caveats : what a reader of plans, records and reports should know of how the samples were read,
        each in one sentence under 300 characters, such as how many files were passed over.
    contents : returns uint64 [N], a hash of the stored bytes of each image, by which copies are
        found; None if they are not hashed.

    Examples
    --------
    >>> from PIL import Image
    >>> from bench.api.splits import Loaded, Split, single_label
    >>> images = [Image.new("RGB", (8, 8))] * 4
    >>> manifest = single_label(["a", "b", "c", "d"], [0, 0, 1, 1])
    >>> split = Split("pets/train", "1f0c", 4, lambda: Loaded(images, manifest))
    >>> split.limited(2).load().manifest.ids, [part.size for part in split.held_out(0.5)]
    (('a', 'd'), [2, 2])
    """

    name: str = field(metadata=NOT_KEYED)
    fingerprint: str
    size: int
    load: Callable[[], Loaded] = field(metadata=NOT_KEYED, compare=False, repr=False)
    given: Given | None = field(default=None, metadata=NOT_KEYED, compare=False, repr=False)
    fault: str = field(default="", metadata=NOT_KEYED)
    of: tuple[str, str] | None = field(default=None, metadata=NOT_KEYED)
    caveats: tuple[str, ...] = field(default=(), metadata=NOT_KEYED)
    contents: Callable[[], NDArray[np.uint64]] | None = field(
        default=None, metadata=NOT_KEYED, compare=False, repr=False
    )

    @property
    def absent(self) -> bool:
        """Whether it has no data (`absent_split`)."""
        return not self.size

    def limited(self, count: int | None) -> Split:
        """Return `count` samples, evenly spaced in the split's order.

        Returns the split itself if `count` is None or not below its size.
        """
        if count is None or count >= self.size:
            return self
        rows = np.linspace(0, self.size - 1, count).round().astype(np.int64)
        return self.take(rows, f"limit {count}")

    def held_out(self, share: float, seed: int = 0) -> tuple[Split, Split]:
        """Return the remaining training split and a selection split (see `holdout`).

        `share` is the fraction of each class to hold out. Opens the split. Raises InputError if no
        class has two samples.
        """
        train_rows, held_rows = holdout(self.load().manifest, share, seed)
        if not len(held_rows):
            raise InputError(
                f"{self.name}: nothing to hold out: expected a class with two or more images"
            )
        how = f"holdout {share:g} seed {seed}"
        suite = self.name.rpartition("/")[0]
        selection = self.take(held_rows, f"selection: {how}")
        return self.take(train_rows, f"train: {how}"), replace(selection, name=f"{suite}/selection")

    def few(self, shots: int, *, at_most: bool = False) -> Split:
        """Return `shots` samples of each class: the first ones in a fixed random order.

        Opens the split. If a class has fewer samples, all of them are taken with `at_most`;
        otherwise InputError is raised.
        """
        labels = self.load().manifest.first
        order = np.random.Generator(np.random.Philox(key=0)).permutation(self.size)
        ranked = order[np.argsort(labels[order], kind="stable")]
        classes, starts, counts = np.unique(labels[ranked], return_index=True, return_counts=True)
        if counts.min() < shots and not at_most:
            fewest = classes[counts.argmin()]
            raise InputError(
                f"{self.name}: class {fewest} has {counts.min()} samples, not {shots} shots: use "
                "fewer shots"
            )
        taken = np.minimum(counts, shots)
        rows = np.concatenate(
            [ranked[a : a + n] for a, n in zip(starts, taken, strict=True)] or [order]
        )
        return self.take(np.sort(rows), f"{shots} shots")

    def cut(self, border: int) -> Split:
        """Return the split with `border` pixels cut from each side of the images; itself for 0."""
        if not border:
            return self

        def load() -> Loaded:
            full = self.load()
            return Loaded(_Cut(full.images, border), full.manifest)

        return replace(self, fingerprint=key_of(self.fingerprint, "border", border), load=load)

    def take(self, rows: NDArray[np.int64], how: str) -> Split:
        """Return the split of the samples `rows`, in that order.

        `how` describes how they were chosen; it enters the fingerprint.
        """

        def load() -> Loaded:
            full = self.load()
            return Loaded(_Subset(full.images, rows), full.manifest.take(rows))

        order = hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest()
        fingerprint = key_of(self.fingerprint, how, order)
        given = None if self.given is None else partial(_some, self.given, rows)
        marks = self.contents
        contents = None if marks is None else lambda: marks()[rows]
        part = replace(self, fingerprint=fingerprint, size=len(rows), load=load)
        return replace(part, given=given, contents=contents)


def _some(given: Given, rows: NDArray[np.int64], model: str, kind: str, part: slice) -> Any:
    # Outputs of a part of `rows`, read with all that lies between them.
    first = int(rows[part].min())
    return given(model, kind, slice(first, int(rows[part].max()) + 1))[rows[part] - first]


def absent_split(name: str, reason: str) -> Split:
    """Return a placeholder for a missing split; opening it raises InputError with `reason`.

    With it, a suite can be used for rows that need no training data, such as zero-shot.

    Examples
    --------
    >>> from bench.api.splits import absent_split
    >>> absent_split("pets/train", "no photographs: expected folder pets/train").absent
    True
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
            small = f"image {index} of {image.size} pixels is too small"
            raise InputError(f"{small} to cut a border of {b} pixels")
        return image.crop((b, b, image.width - b, image.height - b))
