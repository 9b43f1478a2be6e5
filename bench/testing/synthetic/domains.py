"""Sets of several domains in miniature: all domains and classes, a few images of each."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from bench.testing.synthetic._pictures import pixels, save

DRAWN = "quickdraw"
"""The domain of DomainNet whose images are PNG files."""


def make_domains(root: Path) -> dict[str, dict[str, int]]:
    """Write the sets below `root`; returns {set: {part: number of images}}.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.testing.synthetic.domains import make_domains
    >>> make_domains(Path("data"))["pacs"]
    {'art_painting': 35, 'cartoon': 42, 'photo': 49, 'sketch': 56, 'all': 182}
    """
    text = files("bench.datasets").joinpath("domains.toml").read_text(encoding="utf-8")
    listed = tomllib.loads(text)
    pacs, office, vlcs, terra = (
        listed[name] for name in ("pacs", "office-home", "vlcs", "terra-incognita")
    )
    return {
        "pacs": _domains(root / "PACS", **pacs, file="pic_{:03}.jpg", least=5),
        "office-home": _domains(root / "office_home", **office, file="{:05}.jpg", least=2),
        "vlcs": _domains(root / "VLCS", **vlcs, file="img_{:04}.jpg", least=5),
        "terra-incognita": _domains(root / "terra_incognita", **terra, file="{:08x}.jpg", least=5),
        "domainnet": _domainnet(root / "domain_net", **listed["domainnet"]),
    }


def _domains(
    root: Path, domains: Sequence[str], classes: Sequence[str], file: str, least: int
) -> dict[str, int]:
    """Write `least` images per class in the first domain, and one more in each further one."""
    counts = {}
    for number, domain in enumerate(domains):
        each = least + number
        for label, one in enumerate(classes):
            for image in range(each):
                picture = pixels(label, f"{root.name} {domain} {one} {image}")
                save(root / domain / one / file.format(image + 1), picture)
        counts[domain] = each * len(classes)
    return counts | {"all": sum(counts.values())}


def _domainnet(root: Path, domains: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Write one listed image per class and domain, and in some folders a duplicate of it.

    Every fifth image is of the list of test images.
    """
    for domain in domains:
        lists: dict[str, list[str]] = {"train": [], "test": []}
        for label, one in enumerate(classes):
            start = f"{domain}/{one}/{domain}_{label + 1:03}"
            image, duplicate = (
                f"{start}_{number:06}.{'png' if domain == DRAWN else 'jpg'}" for number in (1, 2)
            )
            picture = pixels(label, f"{root.name} {start}")
            for path in (image, duplicate) if label % 50 == 0 else (image,):
                save(root / path, picture)
            lists["train" if label % 5 else "test"].append(f"{image} {label}")
        for part, lines in lists.items():
            (root / f"{domain}_{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    counts = dict.fromkeys(domains, len(classes))
    return counts | {"all": sum(counts.values())}
