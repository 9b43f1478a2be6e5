"""Cards of real data sets: their sources, content, terms and folders.

There is one TOML file per set in datasets/cards/. A fact that no source confirmed is written as
``unknown``, or listed as unverified, with a note; it is never guessed. Nothing here opens a data
set.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Literal, Self

import pydantic

from bench.core.errors import InputError
from bench.core.paths import format_bytes

UNKNOWN = "unknown"
Text = Annotated[str, pydantic.StringConstraints(pattern=r"^\S(.*\S)?$")]
"""A single line of text that is not blank and has no space at either end."""
Folder = Annotated[str, pydantic.StringConstraints(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")]
"""A folder relative to the data folder, with '/' as separator."""
Url = Annotated[str, pydantic.StringConstraints(pattern=r"^https?://[^\s/]+\S*$")]
Count = pydantic.PositiveInt | Literal["unknown"]
Role = Literal["ID", "shift", "transfer"]
User = Literal[
    "archive", "wise-ft", "wise-ft guide", "VRF", "FLYP", "FLYP guide", "CaRot", "torchvision",
    "wilds", "DomainBed", "bench",
]  # fmt: skip
"""Who uses a folder: the set's unpacked archive, an official code, a package, or bench itself."""
DIGITS = {"md5": 32, "sha256": 64, "git-blob": 40}
"""Hexadecimal digits per kind of checksum; ``git-blob`` is what ``git hash-object FILE`` prints."""


PACKED = (".tar", ".tar.gz", ".zip")
"""Suffixes of archives that are unpacked after the download."""


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Archive(_Strict):
    """A file to download.

    Attributes
    ----------
    holds : its content; archives of one card with the same `holds` are alternatives, best first.
    urls : addresses in order of preference; empty if the file must be downloaded manually, in
        which case `note` explains how.
    size : in bytes, or in words, or ``unknown``.
    near : whether the size is approximate; it is then shown but never compared with a file.
    checksums : {kind: hexadecimal digits}, kinds as in `DIGITS`; empty if none is known.
    into : folder, relative to the data folder, that a tar or zip is unpacked to (a top-level
        folder of the same name becomes that folder) or that any other file is put into; None for
        a file that is only used to prepare the set, or if nothing is known.
    note : required if the address, the size or a checksum is missing.

    Examples
    --------
    >>> from bench.data.cards import cards
    >>> archive = cards()["dtd"].archives[0]
    >>> archive.file, archive.packed, archive.amount
    ('dtd-r1.0.1.tar.gz', True, '625 MB')
    """

    file: Text
    holds: Text
    urls: tuple[Url, ...]
    size: pydantic.PositiveInt | Text
    near: bool = False
    checksums: dict[str, Text]
    into: Folder | None = None
    note: Text | None = None

    @pydantic.model_validator(mode="after")
    def _complete(self) -> Self:
        for kind, digits in self.checksums.items():
            if len(digits) != DIGITS.get(kind) or set(digits) - set("0123456789abcdef"):
                raise ValueError(f"{self.file}: {digits!r} is not a valid {kind}")
        if self.note is None and not (self.urls and self.checksums and self.size != UNKNOWN):
            raise ValueError(f"{self.file}: a missing address, size or checksum needs a note")
        if self.near and (isinstance(self.size, str) or self.note is None):
            raise ValueError(f"{self.file}: an approximate size (near) needs a number and a note")
        if self.urls and self.into is None:
            raise ValueError(f"{self.file}: a file with a URL needs `into`, its target folder")
        if not self.checksums and any(url.startswith("http:") for url in self.urls):
            raise ValueError(f"{self.file}: an http address needs a checksum")
        return self

    @property
    def bytes(self) -> int | None:
        """Exact size of the file; None if it is not known to the byte."""
        return None if self.near or isinstance(self.size, str) else self.size

    @property
    def packed(self) -> bool:
        """Whether the file is a tar or a zip, which is unpacked."""
        return self.file.endswith(PACKED)

    @property
    def exact(self) -> str:
        """The size in bytes if known: ``687,552,512 bytes``, ``about 138 GB``, ``unknown``."""
        if isinstance(self.size, str):
            return self.size
        return f"{'about ' * self.near}{self.size:,} bytes"

    @property
    def amount(self) -> str:
        """The size in a readable unit: ``1.26 GB``, ``about 138 GB``, ``unknown``."""
        return self.size if isinstance(self.size, str) else format_bytes(self.size)


class Copy(_Strict):
    """A web page that offers a copy of the set or of a part of it.

    Examples
    --------
    >>> from bench.data.cards import cards
    >>> cards()["domainnet"].copies[0].url
    'https://csr.bu.edu/ftp/visda/2019/multi-source/domainnet/txt/'
    """

    url: Url
    note: Text


class Terms(_Strict):
    """The conditions under which a set may be used.

    Attributes
    ----------
    licence : its name, or ``unknown``.
    gated : whether users must register or accept the terms before the download.
    accept : the clauses that a user agrees to.
    note : required if the licence is ``unknown``.

    Examples
    --------
    >>> from bench.data.cards import cards
    >>> cards()["imagenet"].terms.gated
    True
    """

    licence: Text
    gated: bool
    accept: tuple[Text, ...]
    note: Text | None = None

    @pydantic.model_validator(mode="after")
    def _complete(self) -> Self:
        if self.licence == UNKNOWN and self.note is None:
            raise ValueError("an unknown licence needs a note")
        if self.gated and not self.accept:
            raise ValueError("a gated set needs the clauses to accept")
        return self


class Location(_Strict):
    """A folder, relative to the data folder, and the codes that look for the set in it.

    Examples
    --------
    >>> from bench.data.cards import cards
    >>> cards()["imagenet-v2"].layout.folders["test"][0].path
    'ImageNetV2-matched-frequency'
    """

    path: Folder
    by: tuple[User, ...] = pydantic.Field(min_length=1)


class Layout(_Strict):
    """The folders in which an unpacked set may be.

    Attributes
    ----------
    folders : {part: its possible folders in order of preference}. A part is a split, ``all`` for
        all splits, or something else, such as ``metadata``.
    inside : how images and labels are arranged in such a folder.

    Examples
    --------
    >>> from bench.data.cards import cards
    >>> list(cards()["cifar-10"].layout.folders)
    ['train', 'test']
    """

    folders: dict[Text, tuple[Location, ...]] = pydantic.Field(min_length=1)
    inside: Text

    @pydantic.field_validator("folders")
    @classmethod
    def _unambiguous(
        cls, folders: dict[str, tuple[Location, ...]]
    ) -> dict[str, tuple[Location, ...]]:
        for part, places in folders.items():
            paths = [place.path for place in places]
            if not paths or len(set(paths)) < len(paths):
                raise ValueError(f"folders of {part}: expected distinct folders, got {paths}")
        return folders


class SetCard(_Strict):
    """What a user must know about a data set before downloading, trusting or citing it.

    Attributes
    ----------
    roles : how the set is used; a set with both ID and shifted splits has both roles.
    shift_of : the ID set, for a set that is only used as a shift.
    needs : the set whose images it uses, if it has no images of its own.
    source : the set's web page.
    images : {split: number of images}.
    unverified : the splits whose number of images no source confirmed.
    per_class : {split: images per class}, for the splits in which all classes have equally many.
    classes : number of evaluated classes.
    classes_total : number of all classes, if there are more.
    label_map : `LabelMap.relation` from the classes of `shift_of`, or of its own ID split, to the
        classes of the set.
    labels : a description of the classes and of that map.
    prompts : official files with templates or class names that no installed package has.
    metadata : other official files that are not in the archives.
    notes : pitfalls.

    Examples
    --------
    >>> from bench.data.cards import cards
    >>> card = cards()["imagenet-sketch"]
    >>> card.role, card.counts
    ('shift of imagenet', 'test 50,889')
    """

    name: Text
    title: Text
    roles: tuple[Role, ...] = pydantic.Field(min_length=1)
    shift_of: Text | None = None
    needs: Text | None = None
    suites: tuple[Text, ...] = pydantic.Field(min_length=1)
    source: Url
    revision: Text
    terms: Terms
    images: dict[Text, Count] = pydantic.Field(min_length=1)
    unverified: tuple[Text, ...] = ()
    images_note: Text | None = None
    per_class: dict[Text, pydantic.PositiveInt] = {}
    classes: pydantic.PositiveInt
    classes_total: pydantic.PositiveInt | None = None
    label_map: Literal["identity", "subset", "many-to-one"]
    labels: Text
    metric: Text
    archives: tuple[Archive, ...] = pydantic.Field(min_length=1)
    copies: tuple[Copy, ...] = ()
    prompts: tuple[Archive, ...] = ()
    metadata: tuple[Archive, ...] = ()
    layout: Layout
    citation: Text
    notes: tuple[Text, ...] = ()

    @pydantic.model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.roles == ("shift",)) != (self.shift_of is not None):
            raise ValueError("shift_of is for a set whose only role is shift: it names its ID set")
        if not set(self.unverified) <= set(self.images):
            raise ValueError(f"unverified {self.unverified} are not among {tuple(self.images)}")
        if (self.unverified or UNKNOWN in self.images.values()) and self.images_note is None:
            raise ValueError("unknown or unverified counts need a note")
        for split, each in self.per_class.items():
            totals = [each * count for count in (self.classes, self.classes_total) if count]
            if self.images.get(split) not in totals:
                raise ValueError(f"per_class: {each} per class contradicts the images of {split}")
        small_files = (*self.prompts, *self.metadata)
        for group in (self.archives, small_files):
            if len({archive.file for archive in group}) < len(group):
                raise ValueError("two archives have the same name")
        for file in small_files:
            if file.packed or not (file.urls and file.checksums):
                raise ValueError(f"{file.file}: expected an address, a checksum, and no archive")
        return self

    @property
    def role(self) -> str:
        """The roles as text: ``ID + shift``, ``shift of imagenet``."""
        return " + ".join(self.roles) + (f" of {self.shift_of}" if self.shift_of else "")

    @property
    def counts(self) -> str:
        """The numbers of images as text: ``train 50,000, test 10,000``; unverified ones marked."""
        texts = []
        for split, count in self.images.items():
            number = count if isinstance(count, str) else f"{count:,}"
            texts.append(f"{split} {number}{' (unverified)' * (split in self.unverified)}")
        return ", ".join(texts)

    @property
    def balance(self) -> str:
        """The images per class as text: ``train 5,000, test 1,000``; empty if classes differ."""
        return ", ".join(f"{split} {each:,}" for split, each in self.per_class.items())

    @property
    def download(self) -> str:
        """The download sizes as text, counting only the first of alternative archives."""
        best: dict[str, str] = {}
        for archive in self.archives:
            best.setdefault(archive.holds, archive.amount)
        sizes = list(best.values())
        own = "size unknown" if set(sizes) == {UNKNOWN} else " + ".join(sizes)
        return f"{own}, plus {self.needs}" if self.needs else own


@cache
def cards() -> Mapping[str, SetCard]:
    """Return all cards by name, sorted. Raises InputError, naming the file, for an invalid one.

    Examples
    --------
    >>> from bench.data.cards import cards
    >>> list(cards())[:3]
    ['cifar-10', 'cifar-10.1', 'cifar-10.2']
    """
    found = {}
    for file in files("bench.datasets").joinpath("cards").iterdir():
        if file.name.endswith(".toml"):
            card = parse_card(file.name, file.read_text(encoding="utf-8"))
            found[card.name] = card
    return MappingProxyType(dict(sorted(found.items())))


def parse_card(file: str, text: str) -> SetCard:
    """Parse the text of the card file `file`.

    Raises InputError if the card is invalid, or if the file is not called ``NAME.toml``.

    Examples
    --------
    >>> from bench.data.cards import parse_card
    >>> parse_card("pets.toml", 'name = "pets"')
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: card pets.toml: title: Field required
    """
    try:
        card = SetCard.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"card {file}: {error}") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "card"
        raise InputError(f"card {file}: {where}: {first['msg']}") from error
    if file != f"{card.name}.toml":
        raise InputError(
            f"card {file}: its name is {card.name!r}, expected the file name {card.name}.toml"
        )
    return card
