#!/usr/bin/env python
"""Write docs/datasets.md from the cards of the data sets. The same cards give the same bytes.

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

Where to get each set, how large it is, which terms to accept, and in which folders official codes
and packages look for it. `scripts/pages/datasets_page.py` writes this page from the cards in
`datasets/cards/`: change a card, then run the script. `bench show imagenet-v2` prints a card,
`bench list sets` lists them, and `bench list suites` lists the suites. To make a suite of your own,
see [suite-file.md](suite-file.md).

- *unknown*: no source states it. *unverified*: the usual figure, which no source confirmed.
- Archives with the same content are alternatives, the best first.
- Folders are relative to the data folder (`--data`, `$BENCH_DATA`), in order of preference.
- Check a download with `md5sum FILE` or `sha256sum FILE`; for `git-blob`, with
  `git hash-object FILE`.

## Getting a set

    bench data download imagenet-v2 imagenet-a --data ~/data
    bench data download --suite imagenet --data ~/data

- After an interruption, run the same command again to resume. Addresses are tried in turn. A file
  is only accepted if it has the card's size and checksum. If neither is known, the archive must be
  readable to its end. HTML pages are never accepted.
- Archives are unpacked to the folder after "into" below. Nothing is written outside it, and the
  folder gets its name only when it is complete. A set that exists in any of its folders is not
  touched.
- Downloaded archives are stored in `bench-downloads/SET/` and removed after unpacking, unless
  `--keep` is given.
- **Gated** sets show their terms and ask for acceptance; scripts pass `--accept-terms`. ObjectNet's
  zip is encrypted: its site states the password, pass it with `--password`. Python decrypts slowly
  (about 1 MB/s per core); you can also unpack the zip with `unzip` into the data folder.
- For sets that cannot be downloaded automatically (ImageNet, Stanford Cars) the command shows the
  page to get them from and the folder to put them in. Run it again to check the files and continue.
- `bench data prepare SET` does the steps after downloading; `download` includes them. It makes
  ImageNet's class folders from its archives in `bench-downloads/imagenet/` (or `imagenet/`, or the
  data folder itself). Validation images that lie flat in `imagenet/val/` are moved into class
  folders with the help of the devkit. For other sets it fetches official prompts into
  `bench-prompts/SET/`, and other small files that no archive has.
- Exit code 4: a file is missing, altered or not what it should be; 1: no address could be reached.

## Is it complete?

    bench data status --data ~/data
    bench data verify imagenet-v2 --data ~/data

- `status` shows for every set where it was found and whether it has as many images as its card
  states.
- `verify` reads every file: images are decoded, and bytes compared with the hashes that the first
  verification without errors stores in `bench-manifests/SET.sha256` (`sha256sum -c`, run in the
  data folder, reads them, too). Each missing, altered, unreadable or added file is listed, and the
  exit code is 4. The exit code is also 4 for a set that exists but cannot be checked. A shift is
  verified without its ID set. For Entity-30, which has no images of its own, the ImageNet images
  that it uses are verified.
- If there are no hashes yet, counts and decoding are checked, and class folders are compared with
  the lists in the sets' own files. Surplus class folders are named, also for ObjectNet's 313. A
  missing image is named if the set lists its images; otherwise the folder with too few images is
  named. An altered image that still decodes is not found without hashes. Swapped class folders are
  only found in ImageNet's training images, whose names contain their class, and in val if the
  devkit is in `bench-downloads/imagenet/`.
- In `bench-downloads/SET/` HTML pages are detected under any file name.
- FMoW's splits without a confirmed count are compared with its own table. For SUN397 and DTD,
  `status` checks partition 1, `verify` all ten.
- A run that meets an unreadable image ends with exit code 4 and names the image.
- A run on incomplete data is refused. With `--allow-incomplete` it runs: its records, reports and
  tables state what was missing, and none of its rows are ranked. A shift that is missing completely
  is left out, and the report names it; its suite is then partial and not ranked either. Without
  training images, zero-shot still works.
- `bench run --suite available` runs every suite whose ID test set is found.

## Without any data

    bench data synthetic /tmp/data && bench run --suite imagenet --data /tmp/data

`bench data synthetic` writes miniature copies of all sets in their true folders, names and formats,
with meaningless pictures. Every loader runs on them with the tiny embedded CLIP. All results are
marked "synthetic data".
"""


def page() -> str:
    """Return the whole page as Markdown."""
    found = sorted(cards().values(), key=_order)
    parts = [INTRODUCTION, _overview(found)]
    for suite in dict.fromkeys(card.suites[0] for card in found):
        parts.append(f"## Suite {suite}\n")
        parts += [_section(card) for card in found if card.suites[0] == suite]
    return "\n".join(parts)


def _order(card: SetCard) -> tuple[bool, str, bool, str]:
    """Sort key: transfer sets last, and the ID set of a suite first."""
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
        lines.append("- **Other copies**")
        lines += [f"    - <{copy.url}>: {_text(copy.note)}" for copy in card.copies]
    lines.append(f"- **Folders** (contents: {_text(card.layout.inside)})")
    for part, places in card.layout.folders.items():
        folders = "; ".join(f"`{place.path}` ({', '.join(place.by)})" for place in places)
        lines.append(f"    - {part}: {folders}")
    lines += _listed("Notes", card.notes)
    lines += [f"- **Cite**: {_text(card.citation)}", ""]
    return "\n".join(lines)


def _terms(card: SetCard) -> list[str]:
    gated = ", gated" if card.terms.gated else ""
    first = f"- **Licence**: {_text(card.terms.licence)}{gated}{_remark(card.terms.note)}"
    return [first, *_listed("Terms to accept", card.terms.accept)]


def _classes(card: SetCard) -> str:
    total = f" of {card.classes_total:,}" if card.classes_total else ""
    return f"{card.classes:,}{total} classes"


def _archive(archive: Archive) -> str:
    name = "file name unknown" if archive.file == "unknown" else f"`{archive.file}`"
    sums = [f"{kind} `{digits}`" for kind, digits in archive.checksums.items()]
    where = [f"<{url}>" for url in archive.urls]
    into = [f"into `{archive.into}`"] if archive.into else []
    facts = [archive.holds, f"size {archive.exact}", *(sums or ["checksum unknown"]), *into, *where]
    return f"{name}: {', '.join(facts)}{_remark(archive.note)}"


def _get(card: SetCard) -> str:
    own = [archive.file for archive in card.archives if not archive.urls]
    command = f"`bench data download {card.name}`"
    if own == ["unknown"]:
        return f"unpack a copy into the first of the folders below; {command} fetches the rest"
    if own:
        files = ", ".join(f"`{file}`" for file in own)
        return f"put {files} into `bench-downloads/{card.name}/`, then run {command}"
    return command + (", which asks you to accept the terms" if card.terms.gated else "")


def _listed(title: str, texts: Iterable[str]) -> list[str]:
    items = [f"    - {_text(text)}" for text in texts]
    return [f"- **{title}**", *items] if items else []


def _remark(note: str | None) -> str:
    return f" ({_text(note)})" if note else ""


def _anchor(card: SetCard) -> str:
    return card.name.replace(".", "-")


def _text(text: str) -> str:
    """Escape plain text for Markdown."""
    for sign in ("\\", "*", "_", "[", "]", "|"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;")


if __name__ == "__main__":
    write_atomic(PAGE, page().encode())
