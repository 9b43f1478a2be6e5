"""PACS, Office-Home and VLCS in miniature: all domains and classes, a few images of each."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from bench.testing.synthetic._pictures import pixels, save


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
    pacs, office, vlcs = (listed[name] for name in ("pacs", "office-home", "vlcs"))
    return {
        "pacs": _domains(root / "PACS", **pacs, file="pic_{:03}.jpg", least=5),
        "office-home": _domains(root / "office_home", **office, file="{:05}.jpg", least=2),
        "vlcs": _domains(root / "VLCS", **vlcs, file="img_{:04}.jpg", least=5),
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
