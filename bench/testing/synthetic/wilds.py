"""WILDS-FMoW, -iWildCam and -Camelyon17: the CSV files with all columns, and a few images."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from bench.core.paths import write_atomic
from bench.testing.synthetic._pictures import pixels, save

CATEGORIES = tuple(f"category_{number:02d}" for number in range(62))
COUNTRIES = {
    "KEN": "Africa",
    "BRA": "Americas",
    "JPN": "Asia",
    "DEU": "Europe",
    "AUS": "Oceania",
}
"""{country code: region} of the mapping file."""
UNMAPPED = "XKX"
"""A country code in the metadata that the mapping file lacks."""
YEARS = range(2010, 2018)
SPECIES = 182
TWICE = ("Lowland paca", "Jaguarundi", "unknown bird", "central American red brocket")
"""English names that occur for two species in wise-ft's list."""


def make_wilds(root: Path) -> dict[str, dict[str, int]]:
    """Write the sets, and made-up species names in place of the official list.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.testing.synthetic.wilds import make_wilds
    >>> make_wilds(Path("data"))["wilds-iwildcam"]["id_test"]
    70
    """
    return {
        "wilds-fmow": _fmow(root / "fmow_v1.1"),
        "wilds-iwildcam": _iwildcam(root),
        "wilds-camelyon17": _camelyon(root / "camelyon17_v1.0"),
    }


def _table(path: Path, header: str, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file in the format of pandas."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, text.getvalue().encode(), durable=False)


# FMoW


def _fmow(root: Path) -> dict[str, int]:
    """Write FMoW.

    Sequestered rows are mixed with the others and have no image, so row numbers matter.
    """
    counts = dict.fromkeys(("train", "id_val", "id_test", "ood_val", "ood_test"), 0)
    mapping = [(f"Land of {c}, the", c[:2], c, region) for c, region in COUNTRIES.items()]
    _table(root / "country_code_mapping.csv", "name,alpha-2,alpha-3,region", mapping)
    rows = []
    for row, (split, number, year) in enumerate(_places()):
        part = _part(split, year)
        # No test image from 2016 on is from Oceania, because a region may be empty.
        codes = [*COUNTRIES, UNMAPPED]
        country = codes[(number // 6 + 3 * (number // 48)) % len(codes)]
        country = "KEN" if part == "ood_test" and country == "AUS" else country
        label = number % len(CATEGORIES)
        fraction = ".643" if number % 7 == 0 else ""
        time = f"{year}-{'01-01T00:00:00' if number % 5 == 0 else '12-31T23:59:59'}{fraction}Z"
        name = f"{CATEGORIES[label]}_{number}_0_rgb.jpg"
        rows.append(
            (
                split, name, f"{split}/{CATEGORIES[label]}/{name}", 'GEOGCS["WGS 84", "x"]', 4326,
                CATEGORIES[label], True, 24, 20, country, 0, time, 1.25, -2.5,
                COUNTRIES.get(country, "Other"),
            )
        )  # fmt: skip
        if split != "seq":
            save(root / "images" / f"rgb_img_{row}.png", pixels(label, f"fmow {row}"))
        if part:
            counts[part] += 1
    header = (
        "split,img_filename,img_path,spatial_reference,epsg,category,visible,img_width,img_height,"
        "country_code,cloud_cover,timestamp,lat,lon,region"
    )
    _table(root / "rgb_metadata.csv", header, rows)
    write_atomic(root / "RELEASE_v1.1.txt", b"A synthetic copy.\n", durable=False)
    return counts


def _places() -> Iterable[tuple[str, int, int]]:
    """Yield (split, running number, year) of every row, with all splits and years mixed."""
    splits = ("train", "train", "train", "val", "test", "seq")
    for number in range(8 * len(CATEGORIES)):
        yield splits[number % 6], number, YEARS[number // 6 % 8]


def _part(split: str, year: int) -> str:
    if year < 2013:
        return {"train": "train", "val": "id_val", "test": "id_test"}.get(split, "")
    if year < 2016:
        return "ood_val" if split == "val" else ""
    return "ood_test" if split == "test" else ""


# iWildCam


def _iwildcam(root: Path) -> dict[str, int]:
    """Write iWildCam: all species in train, some in each other split; the first image is grey."""
    home = root / "iwildcam_v2.0"
    sizes = {"train": 2 * SPECIES, "id_val": 60, "id_test": 70, "val": 20, "test": 80}
    of_split = {"train": 0, "id_val": 0, "id_test": 0, "val": 12, "test": 16}
    rows: list[tuple[object, ...]] = []
    for split, size in sizes.items():
        for number in range(size):
            label = (number if split == "train" else 3 * number) % SPECIES
            location = of_split[split] + number % (12 if of_split[split] == 0 else 4)
            row = len(rows)
            identity = f"{row:08x}-0000-11ea-0000-000000000000"
            picture = pixels(label, f"iwildcam {row}", width=32)
            grey = np.asarray(picture.mean(axis=2), dtype=np.uint8)
            save(home / "train" / f"{identity}.jpg", grey if number == 0 else picture)
            rows.append(
                (
                    row, split, location, 100 + location, row // 2, f"seq-{row // 2}", label,
                    _identity(label), f"2013-0{1 + row % 9}-0{1 + row % 7} 12:00:00.000",
                    f"{identity}.jpg", identity,
                )
            )  # fmt: skip
    header = (
        ",split,location_remapped,location,sequence_remapped,seq_id,y,category_id,datetime,"
        "filename,image_id"
    )
    _table(home / "metadata.csv", header, rows)
    _names(root)
    write_atomic(home / "RELEASE_v2.0.txt", b"A synthetic copy.\n", durable=False)
    return {{"val": "ood_val", "test": "ood_test"}.get(s, s): size for s, size in sizes.items()}


def _identity(label: int) -> int:
    """Return the number of a species in the competition's list, which has more species."""
    return label + label // 8


def _names(root: Path) -> None:
    """Write ``categories.csv``, and ``labels.csv`` with additional English names; all made up."""
    unused = sorted({_identity(SPECIES) + 8 * n for n in range(1, 4)})
    numbers = [(y, _identity(y)) for y in range(SPECIES)] + [(99999, i) for i in unused]
    scientific = [(y, i, "empty" if y == 0 else f"species synthetica {i}") for y, i in numbers]
    english = {10 * n + offset: name for n, name in enumerate(TWICE, 1) for offset in (0, 90)}
    english[0] = "empty"
    named = [(y, i, n, english.get(y, f"Synthetic species {i}")) for y, i, n in scientific]
    folder = root / "bench-prompts" / "wilds-iwildcam"
    _table(root / "iwildcam_v2.0" / "categories.csv", "y,category_id,name", scientific)
    _table(folder / "labels.csv", "y,category_id,name,english", named)


# Camelyon17


def _camelyon(root: Path) -> dict[str, int]:
    """Write Camelyon17: five hospitals with two patients each; the first patch has an alpha."""
    counts = dict.fromkeys(("train", "id_val", "ood_val", "ood_test"), 0)
    rows: list[tuple[object, ...]] = []
    for number in range(150):
        center, tumor = number % 5, number // 5 % 2
        patient, node = f"{4 + 10 * center + number // 10 % 2:03}", number // 20 % 3
        x, y = 32 * number, 64 * number + 3328
        # The column has 0 or 1 for every hospital; the package overrides it for two of them.
        split = int(number // 5 % 4 == 3)
        part = {1: "ood_val", 2: "ood_test"}.get(center, "id_val" if split else "train")
        counts[part] += 1
        place = f"patient_{patient}_node_{node}"
        picture = pixels(tumor, f"camelyon17 {number}", width=24, height=24)
        if number == 0:
            opaque = np.full((*picture.shape[:2], 1), 255, dtype=np.uint8)
            picture = np.concatenate([picture, opaque], axis=2)
        save(root / "patches" / place / f"patch_{place}_x_{x}_y_{y}.png", picture)
        rows.append((number, patient, node, x, y, tumor, 10 * center + node, center, split))
    header = ",patient,node,x_coord,y_coord,tumor,slide,center,split"
    _table(root / "metadata.csv", header, rows)
    write_atomic(root / "RELEASE_v1.0.txt", b"A synthetic copy.\n", durable=False)
    return counts
