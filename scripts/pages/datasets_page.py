#!/usr/bin/env python
"""Write docs/datasets.md from the cards of the data sets: the same cards give the same bytes.

python scripts/pages/datasets_page.py
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from bench.core.paths import write_atomic
from bench.data.cards import Archive, SetCard, cards

PAGE = Path(__file__).parents[2] / "docs" / "datasets.md"
INTRODUCTION = """\
# Data sets

Where to get each set, how large it is, what one must accept, and in which folders official codes
and packages look for it. Made from the cards in `datasets/cards/` by
`scripts/pages/datasets_page.py`: change a card, then run the script. `bench show imagenet-v2`
prints a card, `bench list sets` lists them; `bench list suites` lists the suites, and
[suite-file.md](suite-file.md) says how to make one of your own.

- *unknown*: no source confirmed it. *unverified*: the usual figure, which no source confirmed.
- Archives with the same content are alternatives, the best first.
- Folders are relative to the data folder (`--data`, `$BENCH_DATA`), in order of preference.
- `md5sum FILE` and `sha256sum FILE` check a download; for `git-blob`, `git hash-object FILE`.

## Getting a set

    bench data download imagenet-v2 imagenet-a --data ~/data
    bench data download --suite imagenet --data ~/data

- The same command goes on after an interruption. Addresses are tried in turn. Only a file with the
  card's size and checksum is kept, never an HTML page, nor, where neither is known, an archive that
  cannot be read to its end.
- Archives are unpacked to the folder after "into" below. Nothing is written outside it; the folder
  has its name only once it is whole. A set that is there, under any of its folders, is left alone.
- Downloaded archives lie in `bench-downloads/SET/` and are removed once unpacked, unless `--keep`.
- **Gated** sets show their terms and ask; scripts say `--accept-terms`. ObjectNet's zip is
  encrypted: the password stands on its site, give it with `--password`. Python decrypts slowly
  (about 1 MB/s and core): to unpack it with `unzip` into the data folder is as good.
- What no program can download (ImageNet, Stanford Cars) is said, with the page and the place to
  put it. The same command then checks it and goes on.
- `bench data prepare SET` does what comes after the archives, and `download` does it too:
  ImageNet's class folders from its archives in `bench-downloads/imagenet/` (or `imagenet/`, or the
  data folder itself); or, of val, from images that lie flat in `imagenet/val/`: they are moved into
  class folders by the devkit. For other sets it fetches official prompts into
  `bench-prompts/SET/`, and other small files that no archive has.
- Exit code 4: a file is missing, altered or not what it should be; 1: no address could be reached.

## Is it whole?

    bench data status --data ~/data
    bench data verify imagenet-v2 --data ~/data

- `status` says of every set where it was found and whether it has as many images as its card says.
- `verify` reads every file: images are decoded, and bytes compared with the hashes that the first
  faultless verification leaves in `bench-manifests/SET.sha256` (`sha256sum -c` reads them, too, in
  the data folder). Each missing, altered, unreadable or added file has a line, and the exit code is
  4, as it is for a set that is there and cannot be checked. A shift is verified without its ID set;
  of Entity-30, which has no images of its own, those of ImageNet that it uses are.
- Before there are hashes, counts and decoding are checked, and class folders compared with the
  lists in the sets' own files: one too many is named, also of ObjectNet's 313. A missing image is
  named where the set lists its images, else the folder that has too few. An altered image that
  still decodes is not found then, nor are swapped class folders: but of ImageNet's training images,
  whose names say their class, and of val where the devkit lies in `bench-downloads/imagenet/`.
- In `bench-downloads/SET/` an HTML page is found under any name.
- FMoW's splits without a confirmed count are held to its own table. Of SUN397 and DTD `status`
  looks at partition 1, `verify` at all ten.
- A run that meets an image that cannot be read ends in exit code 4 and names it.
- A run on incomplete data is refused. With `--allow-incomplete` it goes on: its records, reports
  and tables say what was lacking, and nothing of it is ranked. A shift that is not there at all is
  left out and said to be; its suite is then partial, and not ranked either. Without training
  images, zero-shot still works.
- `bench run --suite available` runs every suite whose ID test set is found.

## Without any of it

    bench data synthetic /tmp/data && bench run --suite imagenet --data /tmp/data

`bench data synthetic` writes miniature copies of all sets in their true folders, names and formats,
with pictures that mean nothing. Every loader runs on them with the tiny embedded CLIP. All results
are marked "synthetic data".
"""


def page() -> str:
    """The whole page."""
    found = sorted(cards().values(), key=_order)
    parts = [INTRODUCTION, _overview(found)]
    for suite in dict.fromkeys(card.suites[0] for card in found):
        parts.append(f"## Suite {suite}\n")
        parts += [_section(card) for card in found if card.suites[0] == suite]
    return "\n".join(parts)


def _order(card: SetCard) -> tuple[bool, str, bool, str]:
    """Transfer sets last; of a suite, the ID set first."""
    return ("transfer" in card.roles, card.suites[0], "ID" not in card.roles, card.name)


def _overview(found: Sequence[SetCard]) -> str:
    lines = ["| set | role | images | classes | download | licence |", "|---|---|---|---:|---|---|"]
    for card in found:
        cells = (
            f"[{card.name}](#{_anchor(card)})",
            card.role,
            _text(card.counts),
            f"{card.classes:,}",
            _text(card.download),
            _text(card.terms.licence) + (", **gated**" if card.terms.gated else ""),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _section(card: SetCard) -> str:
    lines = [
        f'<a id="{_anchor(card)}"></a>',
        "",
        f"### {_text(card.title)}",
        "",
        f"`{card.name}`: {card.role}. Page: <{card.source}>, revision: {_text(card.revision)}.",
        "",
        *_terms(card),
        f"- **Images**: {_text(card.counts)}{_remark(card.images_note)}",
        *([f"- **Images per class**: {_text(card.balance)}"] if card.per_class else []),
        f"- **Labels**: {_classes(card)}, {card.label_map}: {_text(card.labels)}",
        f"- **Metric**: {_text(card.metric)}",
        "- **Archives**",
        *(f"    - {_archive(archive)}" for archive in card.archives),
        f"- **Get it**: {_get(card)}",
    ]
    for title, files in (("Prompts", card.prompts), ("Metadata", card.metadata)):
        lines += [f"- **{title}**"] * bool(files) + [f"    - {_archive(file)}" for file in files]
    if card.copies:
        lines.append("- **Copies**")
        lines += [f"    - <{copy.url}>: {_text(copy.note)}" for copy in card.copies]
    lines.append(f"- **Folders**, in them {_text(card.layout.inside)}")
    for part, places in card.layout.folders.items():
        said = "; ".join(f"`{place.path}` ({', '.join(place.by)})" for place in places)
        lines.append(f"    - {part}: {said}")
    lines += _listed("Mind", card.notes)
    lines += [f"- **Cite**: {_text(card.citation)}", ""]
    return "\n".join(lines)


def _terms(card: SetCard) -> list[str]:
    gated = ", gated" if card.terms.gated else ""
    first = f"- **Licence**: {_text(card.terms.licence)}{gated}{_remark(card.terms.note)}"
    return [first, *_listed("You accept", card.terms.accept)]


def _classes(card: SetCard) -> str:
    total = f" of {card.classes_total:,}" if card.classes_total else ""
    return f"{card.classes:,}{total} classes"


def _archive(archive: Archive) -> str:
    name = "file name unknown" if archive.file == "unknown" else f"`{archive.file}`"
    sums = [f"{kind} `{digits}`" for kind, digits in archive.checksums.items()]
    where = [f"<{url}>" for url in archive.urls]
    into = [f"into `{archive.into}`"] if archive.into else []
    said = [archive.holds, f"size {archive.exact}", *(sums or ["checksum unknown"]), *into, *where]
    return f"{name}: {', '.join(said)}{_remark(archive.note)}"


def _get(card: SetCard) -> str:
    own = [archive.file for archive in card.archives if not archive.urls]
    command = f"`bench data download {card.name}`"
    if own == ["unknown"]:
        return f"unpack a copy into the first of the folders; {command} fetches the rest"
    if own:
        files = ", ".join(f"`{file}`" for file in own)
        return f"{files} into `bench-downloads/{card.name}/`, then {command}"
    return command + (", which asks you to accept the terms" if card.terms.gated else "")


def _listed(title: str, texts: Iterable[str]) -> list[str]:
    items = [f"    - {_text(text)}" for text in texts]
    return [f"- **{title}**", *items] if items else []


def _remark(note: str | None) -> str:
    return f" ({_text(note)})" if note else ""


def _anchor(card: SetCard) -> str:
    return card.name.replace(".", "-")


def _text(text: str) -> str:
    """Plain text as Markdown."""
    for sign in ("\\", "*", "_", "[", "]", "|"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;")


if __name__ == "__main__":
    write_atomic(PAGE, page().encode())
