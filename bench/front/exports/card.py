"""The model card of an exported classifier: what it is, how it was made, its numbers and terms.

All of it is taken from the run's records and from what bench knows; what it does not know is called
unknown. Dates are left out, so that the same run gives the same bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bench.api.dataset import Card
from bench.api.metrics import ACCURACY
from bench.api.registry import datasets
from bench.core import __version__
from bench.core.records import Record
from bench.leaderboard.board import scale_of
from bench.models.files.folder_head import DESCRIPTION, WEIGHTS, ClassifierFile
from bench.report.formats.text import escape, markdown_table
from bench.report.tables.table import Table, TableCell, TableLine, format_value
from bench.runs.items import CellItem
from bench.runs.study.study import Study

CARD = "README.md"
EMBEDDED = "Apache-2.0"
"""The licence of the weights of ``tiny``, which are part of bench."""
UNKNOWN_WEIGHTS = "unknown: ask whoever gave you the weights"
UNKNOWN_IMAGES = "unknown: ask whoever gave you the images"
LOADED = """```python
import open_clip
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import normalize

model, _, preprocess = open_clip.create_model_and_transforms("local-dir:FOLDER")
head = load_file("FOLDER/classifier.safetensors")
features = model.eval().encode_image(preprocess(Image.open("IMAGE"))[None])
{normalize}logits = features @ head["head.weight"].T + head["head.bias"]
```"""
READ = """```python
from safetensors.torch import load_file

weights = load_file("classifier.safetensors")
tower = {n.removeprefix("visual."): t for n, t in weights.items() if n.startswith("visual.")}
head = weights["head.weight"], weights["head.bias"]  # [C, D] and [C]
```"""


def model_card(
    study: Study,
    cell: CellItem,
    records: Sequence[Record],
    said: ClassifierFile,
    form: str,
) -> str:
    """Return the text of a model card, in Markdown with the front matter of model hubs.

    `records` are those of the row and seed, one per evaluation set and metric.

    Examples
    --------
    >>> import bench
    >>> from bench.front.exports.card import model_card
    >>> from bench.models.files.folder_head import ClassifierFile
    >>> run = bench.run(suite="micro", methods="zero-shot", shifts="v2", limit=20)
    >>> said = ClassifierFile(row="zero-shot", suite="micro", model="tiny/embedded",
    ...                       classes=("star", "heart"), normalize=True)
    >>> study, cell = run.chosen("zero-shot")
    >>> text = model_card(study, cell, run.records, said, "safetensors")
    >>> "license: apache-2.0" in text, "unknown" in text
    (True, False)
    """
    first = records[0]
    weights = EMBEDDED if study.backbone.pretrained == "embedded" else UNKNOWN_WEIGHTS
    data = _dataset_card(study)
    parts = [
        _front_matter(weights, form),
        f"# {escape(said.row)} on {escape(said.suite)}: {escape(said.model)}",
        *_what(cell, said, form),
        "## How it was made",
        _list(_made(study, cell, first)),
        "## Numbers",
        *_numbers(records),
        "## Caveats",
        "\n".join(f"- {escape(text)}" for text in _caveats(records)) or "None.",
        "## Licences",
        _list(
            [
                ("Start weights", weights),
                ("Training data", data.licence if data else UNKNOWN_IMAGES),
            ]
        ),
        "These terms apply to what was made of them, too. bench itself is under Apache-2.0.",
        "## Citation",
        _list(
            [
                ("Method", cell.row.method.source),
                *([("Base", cell.row.base.method.source)] if cell.row.base is not None else []),
                *([("Data", data.citation)] if data else []),
                ("Software", f"bench {__version__} (CITATION.cff)"),
            ]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(licence: str, form: str) -> str:
    known = licence.lower() if licence == EMBEDDED else "unknown"
    lines = ["license: " + known, "pipeline_tag: image-classification"]
    lines += ["library_name: open_clip"] if form == "open-clip" else []
    return "\n".join(["---", *lines, "tags: [clip, robust-fine-tuning]", "---"])


def _what(cell: CellItem, said: ClassifierFile, form: str) -> Iterator[str]:
    """Yield what the files hold and how they are loaded."""
    takes = "L2-normalised" if said.normalize else "raw"
    yield (
        f"An image classifier for {len(said.classes)} classes: {escape(cell.row.method.summary)} "
        f"`{WEIGHTS}` has its linear head, `head.weight` and `head.bias`, which takes {takes} "
        f"image embeddings; the scale of the logits is part of it. `{DESCRIPTION}` has the names "
        "of the classes in its order, the preprocessing of images and the architecture."
    )
    if form != "open-clip":
        yield f"Its image tower is in `{WEIGHTS}` as well, under open_clip's names, `visual.*`."
        yield READ
        return
    yield (
        "`open_clip_model.safetensors` has a CLIP model with its image tower. The text tower is "
        "the one that was trained, if the method trains it and merges nothing; else that of the "
        "start weights. It is not needed: classify with the head."
    )
    if said.configuration.get("vision_cfg", {}).get("timm_model_name") == "bench_mini_convnext":
        yield "The image tower is one of bench: `import bench.data.mini.model` first."
    line = "features = normalize(features, dim=-1)\n" if said.normalize else ""
    yield LOADED.format(normalize=line)
    yield (
        "`bench run --model local-dir:FOLDER` evaluates it: for these classes, zero-shot is this "
        "classifier."
    )


def _made(study: Study, cell: CellItem, record: Record) -> Iterator[tuple[str, str]]:
    """Yield how the row was made, as its records state it."""
    facts, task = record.provenance, study.suite.task
    yield "Row", f"{cell.row.name} ({record.title})"
    yield "Start weights", study.model
    for name, part in (("Method", "method"), ("Base", "base")):
        if isinstance(facts.get(part), Mapping):
            yield name, _settings(facts[part])
    if record.choice:
        chosen = ", ".join(f"{name} = {value:g}" for name, value in record.choice.items())
        evidence = format_value(record.chosen_on) if record.chosen_on else "the only candidate"
        yield "Chosen", f"{chosen} ({evidence})"
    yield "Seed", "none: it has no training" if record.seed is None else str(record.seed)
    splits = {"training": task.train, "selection": task.selection}
    yield "Data", "; ".join(f"{n}: {s.name}, {s.size:,} images" for n, s in splits.items())
    yield "Protocol", record.protocol
    yield "Precision of evaluation", study.precision
    if record.notes:
        yield "Not reportable", ", ".join(record.notes)
    if made := record.environment:
        yield "Software", format_value(made.get("versions"))
        yield "Commit of bench", str(made.get("commit"))
    yield "Key", str(facts.get("key"))


def _settings(value: Mapping[str, Any]) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _numbers(records: Sequence[Record]) -> Iterator[str]:
    """Yield a table of the evaluation sets with each metric, as the leaderboards print them."""
    metrics = list(dict.fromkeys(r.metric for r in sorted(records, key=_metric_order)))
    scales = {name: scale_of(name) for name in metrics}
    lines = []
    for shift in dict.fromkeys(r.shift for r in sorted(records, key=lambda r: r.order)):
        own = {r.metric: r for r in records if r.shift == shift}
        values = [scales[n].text(own[n].value) if n in own else "" for n in metrics]
        size = f"{next(iter(own.values())).n:,}"
        lines.append(TableLine(tuple(map(TableCell, (shift, size, *values)))))
    columns = ("Set", "Images", *(f"{s.title} ({s.unit})" for s in scales.values()))
    yield markdown_table(Table("", columns, "l" + "r" * (len(columns) - 1), (tuple(lines),)))
    yield "Measured by bench on the run's evaluation sets, without temperature scaling."


def _metric_order(record: Record) -> tuple[bool, bool, str]:
    return record.metric != ACCURACY.name, record.metric != "ece", record.metric


def _caveats(records: Sequence[Record]) -> list[str]:
    found: dict[str, None] = {}
    for record in records:
        said = record.provenance.get("caveats")
        for texts in said.values() if isinstance(said, Mapping) else ():
            found |= dict.fromkeys(map(str, [texts] if isinstance(texts, str) else texts))
    return list(found)


def _dataset_card(study: Study) -> Card | None:
    """Return the card of a suite of bench, whose names suite files cannot have; else None."""
    found = datasets().get(re.split("[=+]", study.suite.name)[0])
    return None if found is None else found.card


def _list(items: Any) -> str:
    return "\n".join(f"- {name}: {escape(text)}" for name, text in items)
