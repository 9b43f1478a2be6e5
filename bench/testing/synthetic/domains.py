"""PACS and Office-Home in miniature: all domains and classes, a few images of each."""

from __future__ import annotations

from pathlib import Path

from bench.testing.synthetic._pictures import pixels, save

_PACS = ("art_painting", "cartoon", "photo", "sketch")
_ANIMALS = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
_OFFICE = ("Art", "Clipart", "Product", "Real World")
_OBJECTS = (*(f"Object_{number:02}" for number in range(64)), "ToothBrush")


def make_domains(root: Path) -> dict[str, dict[str, int]]:
    """Write both sets below `root`; returns {set: {part: number of images}}.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.testing.synthetic.domains import make_domains
    >>> make_domains(Path("data"))["pacs"]
    {'art_painting': 35, 'cartoon': 42, 'photo': 49, 'sketch': 56, 'all': 182}
    """
    return {
        "pacs": _domains(root / "PACS", _PACS, _ANIMALS, "pic_{:03}.jpg", 5),
        "office-home": _domains(root / "office_home", _OFFICE, _OBJECTS, "{:05}.jpg", 2),
    }


def _domains(
    root: Path, domains: tuple[str, ...], classes: tuple[str, ...], file: str, least: int
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
