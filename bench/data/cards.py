"""Cards of real data sets: where to get one, what it holds, under which terms, in which folders.

One TOML file per set in datasets/cards/. What no source confirmed is the word ``unknown`` (or
listed as unverified) with a note, never a guess. Nothing here opens a data set.
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
"""One line that is not blank."""
Folder = Annotated[str, pydantic.StringConstraints(pattern=r"^\w[\w.-]*(/\w[\w.-]*)*$")]
"""A folder relative to the data folder, with '/'."""
Url = Annotated[str, pydantic.StringConstraints(pattern=r"^https?://[^\s/]+\S*$")]
Count = pydantic.PositiveInt | Literal["unknown"]
Role = Literal["ID", "shift", "transfer"]
User = Literal[
    "archive", "wise-ft", "wise-ft guide", "VRF", "FLYP", "FLYP guide", "CaRot", "torchvision",
    "wilds", "bench",
]  # fmt: skip
"""Who lays a set out like that: its own archive once unpacked, an official code, a package, we."""
DIGITS = {"md5": 32, "sha256": 64, "git-blob": 40}
"""Hexadecimal digits per kind of checksum; `git-blob` is what ``git hash-object FILE`` prints."""


PACKED = (".tar", ".tar.gz", ".zip")
"""Suffixes of what holds other files."""


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class Archive(_Strict):
    """A file to download.

    Attributes
    ----------
    holds : what is in it; archives of one card that hold the same are alternatives, best first.
    urls : in order of preference; none where a person must fetch it (`note` says how).
    size : in bytes, or in words, or ``unknown``.
    near : the size is somebody's figure, not the file's own: shown, never compared.
    checksums : {kind: hexadecimal digits}, kinds as in `DIGITS`; empty where none is known.
    into : the folder of the data folder that a tar or zip becomes (a folder of that name at its
        top is that folder), or that another file lies in; None for what only helps to prepare, or
        where nothing is known.
    note : needed where an address, the size or a checksum is missing.
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
    def _reasoned(self) -> Self:
        for kind, digits in self.checksums.items():
            if len(digits) != DIGITS.get(kind) or set(digits) - set("0123456789abcdef"):
                raise ValueError(f"{self.file}: {digits!r} is no {kind}")
        if self.note is None and not (self.urls and self.checksums and self.size != UNKNOWN):
            raise ValueError(f"{self.file}: what is missing of it needs a note")
        if self.near and (isinstance(self.size, str) or self.note is None):
            raise ValueError(f"{self.file}: a size that is only near is a number, with a note")
        if self.urls and self.into is None:
            raise ValueError(f"{self.file}: what is downloaded needs a folder to go into")
        if not self.checksums and any(url.startswith("http:") for url in self.urls):
            raise ValueError(f"{self.file}: an http address needs a checksum")
        return self

    @property
    def bytes(self) -> int | None:
        """The size that the file must have; None where it is not known to the byte."""
        return None if self.near or isinstance(self.size, str) else self.size

    @property
    def packed(self) -> bool:
        """Whether it is a tar or a zip, to be unpacked."""
        return self.file.endswith(PACKED)

    @property
    def exact(self) -> str:
        """The size as it is known: ``687,552,512 bytes``, ``about 138 GB``, ``unknown``."""
        if isinstance(self.size, str):
            return self.size
        return f"{'about ' * self.near}{self.size:,} bytes"

    @property
    def amount(self) -> str:
        """The size in words: ``1.26 GB``, ``about 138 GB``, ``unknown``."""
        return self.size if isinstance(self.size, str) else format_bytes(self.size)


class Copy(_Strict):
    """Another place that has the set, or a part of it, as a page for people."""

    url: Url
    note: Text


class Terms(_Strict):
    """Under what conditions a set may be used.

    `gated`: one must register or accept something before the download. `accept`: what a user
    agrees to, clause by clause. `note` is needed where the licence is ``unknown``.
    """

    licence: Text
    gated: bool
    accept: tuple[Text, ...]
    note: Text | None = None

    @pydantic.model_validator(mode="after")
    def _reasoned(self) -> Self:
        if self.licence == UNKNOWN and self.note is None:
            raise ValueError("an unknown licence needs a note")
        if self.gated and not self.accept:
            raise ValueError("a gated set needs what one accepts")
        return self


class Location(_Strict):
    """A folder, relative to the data folder, and who looks for it there."""

    path: Folder
    by: tuple[User, ...] = pydantic.Field(min_length=1)


class Layout(_Strict):
    """Where the unpacked set may lie.

    Attributes
    ----------
    folders : {split, ``all`` for every split, or another part: places in order of preference}.
    inside : how images and labels are found in such a folder.
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
                raise ValueError(f"folders of {part}: expected different ones, got {paths}")
        return folders


class SetCard(_Strict):
    """What a user must know of a data set before getting, trusting or citing it.

    Attributes
    ----------
    roles : what it serves for; a set that holds ID and shifted splits has both.
    shift_of : the ID set of a set that only is a shift.
    needs : the set whose images it is made of, where it has none of its own.
    source : its page, for people.
    images : {split: number of images}; `unverified` names those that no source confirmed.
    per_class : {split: images of each class}, of the splits in which all classes have as many.
    classes : that are evaluated; `classes_total` : where it has more.
    label_map : `LabelMap.relation` of its labels seen from `shift_of`, or from its own ID split.
    labels : that map in words.
    prompts : official files with templates or class names, where no package ships them.
    metadata : other official files that its archives lack.
    notes : traps.
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
            raise ValueError("a set that only is a shift, and no other, names its ID set")
        if not set(self.unverified) <= set(self.images):
            raise ValueError(f"unverified {self.unverified} are not among {tuple(self.images)}")
        if (self.unverified or UNKNOWN in self.images.values()) and self.images_note is None:
            raise ValueError("unknown or unverified counts need a note")
        for split, each in self.per_class.items():
            whole = [each * count for count in (self.classes, self.classes_total) if count]
            if self.images.get(split) not in whole:
                raise ValueError(f"per_class: {each} of each class are not the images of {split}")
        beside = (*self.prompts, *self.metadata)
        for group in (self.archives, beside):
            if len({archive.file for archive in group}) < len(group):
                raise ValueError("two archives of one name")
        for file in beside:
            if file.packed or not (file.urls and file.checksums):
                raise ValueError(f"{file.file}: expected an address, a checksum, and no archive")
        return self

    @property
    def role(self) -> str:
        """The roles in words: ``ID + shift``, ``shift of imagenet``."""
        return " + ".join(self.roles) + (f" of {self.shift_of}" if self.shift_of else "")

    @property
    def counts(self) -> str:
        """The images in words: ``train 50,000, test 10,000``, unverified ones marked."""
        said = []
        for split, count in self.images.items():
            number = count if isinstance(count, str) else f"{count:,}"
            said.append(f"{split} {number}{' (unverified)' * (split in self.unverified)}")
        return ", ".join(said)

    @property
    def balance(self) -> str:
        """The images of each class in words: ``train 5,000, test 1,000``; empty if they differ."""
        return ", ".join(f"{split} {each:,}" for split, each in self.per_class.items())

    @property
    def download(self) -> str:
        """The sizes in words, of the first archive for each thing to be had."""
        best: dict[str, str] = {}
        for archive in self.archives:
            best.setdefault(archive.holds, archive.amount)
        sizes = list(best.values())
        own = "size unknown" if set(sizes) == {UNKNOWN} else " + ".join(sizes)
        return f"{own} beside {self.needs}" if self.needs else own


@cache
def cards() -> Mapping[str, SetCard]:
    """Every card by name, sorted. Raises InputError, naming the file, if one is not a card."""
    found = {}
    for file in files("bench.datasets").joinpath("cards").iterdir():
        if file.name.endswith(".toml"):
            card = parse_card(file.name, file.read_text(encoding="utf-8"))
            found[card.name] = card
    return MappingProxyType(dict(sorted(found.items())))


def parse_card(file: str, text: str) -> SetCard:
    """The card in the text of `file`. Raises InputError if it is none or is named otherwise."""
    try:
        card = SetCard.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"card {file}: {error}") from error
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "card"
        raise InputError(f"card {file}: {where}: {first['msg']}") from error
    if file != f"{card.name}.toml":
        raise InputError(f"card {file}: its name is {card.name!r}")
    return card
