"""``bench export RUN ROW``: the classifier of a row as safetensors, or as a folder of open_clip."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.api.recipe_parts import encoder_of, head_of, needs_outputs
from bench.api.recipes import Recipe, Tuned
from bench.core.errors import InputError, shortened, unknown_name
from bench.core.paths import check_writable, write_atomic
from bench.core.records import Record
from bench.core.store import MissingOutput
from bench.front.exports.card import CARD, model_card
from bench.front.run import Run
from bench.models.clip import load_clip, logit_bias
from bench.models.facts import configuration_of
from bench.models.files.folder_head import DESCRIPTION, WEIGHTS, ClassifierFile
from bench.models.heads import LinearHead, load_head
from bench.models.sources.folder import load_folder
from bench.models.weights import HeldEncoders, encoder_state, stored_part
from bench.report.staging import finished_names, staged
from bench.runs.items import CellItem
from bench.runs.study.study import Study

if TYPE_CHECKING:
    from torch import Tensor

    from bench.models.clip import Clip

SAFETENSORS, OPEN_CLIP = "safetensors", "open-clip"
FORMS = (SAFETENSORS, OPEN_CLIP)
CONFIG, MODEL = "open_clip_config.json", "open_clip_model.safetensors"
"""The files by which open_clip knows a folder."""
FILES = (CARD, DESCRIPTION, WEIGHTS, CONFIG, MODEL)


@dataclass(frozen=True)
class _Weights:
    """The weights of a row: its image tower, its head, and the other tensors of the CLIP model."""

    clip: Clip
    tower: Mapping[str, Tensor]
    text: Mapping[str, Tensor]
    head: LinearHead


def export_classifier(
    run: Run,
    row: str,
    to: Path,
    form: str = SAFETENSORS,
    seed: int | None = None,
    suite: str | None = None,
) -> Path:
    """Write the classifier of a row into the folder `to`, with a model card; return the folder.

    `form` is one of `FORMS`. Raises InputError for a row without weights of its own, if its weights
    are not in the cache, if open_clip has no such architecture, and if `to` has other files.

    Examples
    --------
    >>> from pathlib import Path
    >>> import bench
    >>> from bench.front.exports.classifier import export_classifier
    >>> run = bench.run(suite="micro", methods="zero-shot", shifts="v2", limit=20)
    >>> folder = export_classifier(run, "zero-shot", Path("mine"))
    >>> sorted(path.name for path in folder.iterdir())
    ['README.md', 'classifier.json', 'classifier.safetensors']
    """
    if form not in FORMS:
        raise unknown_name("format", form, FORMS)
    check_export_folder(to, DESCRIPTION)
    study, cell = run.chosen(row, seed=seed, suite=suite)
    records = records_of(run, study, cell)
    recipe = _recipe(cell)
    weights = _weights(run, study, cell, recipe)
    configuration = configuration_of(weights.clip, study.backbone)
    if form == OPEN_CLIP and "text_cfg" not in configuration:
        raise InputError(
            f"{study.model} has no configuration of open_clip's with two towers: use --format "
            f"{SAFETENSORS}"
        )
    said = _said(study, cell, weights, configuration)
    card = model_card(study, cell, records, said, form)
    with staged(to, FILES) as new:
        write_atomic(new / DESCRIPTION, _json(said.model_dump(mode="json")))
        tower = {f"visual.{name}": tensor for name, tensor in weights.tower.items()}
        own = {} if form == OPEN_CLIP else tower
        _write_tensors(new / WEIGHTS, own | _head_tensors(weights.head))
        if form == OPEN_CLIP:
            config = {"model_cfg": configuration, "preprocess_cfg": said.preprocess}
            write_atomic(new / CONFIG, _json(config))
            state = {**weights.clip.model.state_dict(), **weights.text, **tower}
            _write_tensors(new / MODEL, state)
            _save_tokenizer(weights.clip, configuration, new)
            _check_loads(new, state, study)
        write_atomic(new / CARD, card.encode())
    return to


def check_export_folder(folder: Path, mark: str) -> None:
    """Raise InputError unless a folder is empty, absent, or an earlier export with the file `mark`.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.front.exports.classifier import check_export_folder
    >>> _ = Path("thesis.tex").write_text("...")
    >>> check_export_folder(Path("."), "classifier.json")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: --to . has files of its own, such as thesis.tex: name a new folder
    """
    check_writable(folder, "output folder")
    names = finished_names(folder)
    if names and mark not in names:
        raise InputError(
            f"--to {folder} has files of its own, such as {names[0]:.80}: name a new folder"
        )


def records_of(run: Run, study: Study, cell: CellItem) -> list[Record]:
    """Return the leaderboard's records of a row and seed, whose choice must be the cell's.

    Raises InputError if the choice is another one: the cache lacks what the run chose by.

    Examples
    --------
    >>> import bench
    >>> from bench.front.exports.classifier import records_of
    >>> run = bench.run(suite="micro", methods="zero-shot", shifts="v2", limit=20)
    >>> len(records_of(run, *run.chosen("zero-shot")))
    8
    """
    row, choice = cell.row, dict(cell.choice)
    name = row.base.name if row.base is not None else None
    found = [
        record
        for record in run.records
        if (record.suite, record.seed) == (study.suite.name, cell.fit.seed)
        and (record.method, record.base) == (row.label, name)
        and record.kind == "cell"
        and record.role != "oracle"
    ]
    if not found or any(record.choice != choice for record in found):
        raise lost(run, cell)
    return found


def lost(run: Run, cell: CellItem) -> InputError:
    """Return the error for what the cache no longer has of a row.

    Examples
    --------
    >>> import bench
    >>> from bench.front.exports.classifier import lost
    >>> run = bench.run(suite="micro", methods="zero-shot", shifts="v2", limit=20)
    >>> str(lost(run, run.chosen("zero-shot")[1]))[:46]
    'zero-shot: what it was computed from is not in'
    """
    return InputError(
        f"{cell.row.name}: what it was computed from is not in the cache "
        f"{run.own_session.store.place}: name the run's cache with --cache-dir, or run the same "
        "command again"
    )


def _recipe(cell: CellItem) -> Recipe:
    """Return the one classifier of a row. Raises InputError if it has none with known weights."""
    row = cell.row
    if row.method.group == "ensembles":
        base = row.base.name if row.base is not None else "its base"
        raise InputError(
            f"{row.name} combines the outputs of several classifiers and has no weights of its "
            f"own: export its ends, zero-shot and {base}, or its outputs with --outputs"
        )
    (recipe,) = row.method.needs(cell.fit.models, cell.choice)
    if needs_outputs(recipe):
        raise InputError(
            f"{row.name} is known by outputs that were computed elsewhere, not by its weights: "
            "export its outputs with --outputs"
        )
    return recipe


def _weights(run: Run, study: Study, cell: CellItem, recipe: Recipe) -> _Weights:
    import torch

    store, clip = run.own_session.store, load_clip(study.backbone)
    held = HeldEncoders(store, clip.model.visual.state_dict, torch.device("cpu"))
    head = head_of(recipe)
    try:
        tower = encoder_state(encoder_of(recipe), held.read)
        text = stored_part(head, store, "text.") if isinstance(head, Tuned) else {}
        return _Weights(clip, tower, text, load_head(head, store))
    except MissingOutput as error:
        raise lost(run, cell) from error


def _said(
    study: Study, cell: CellItem, weights: _Weights, configuration: dict[str, Any]
) -> ClassifierFile:
    model = weights.clip.model
    bias = logit_bias(model)
    return ClassifierFile(
        row=cell.row.name,
        suite=study.suite.name,
        model=study.model,
        seed=cell.fit.seed,
        classes=study.suite.task.classnames,
        normalize=weights.head.normalize,
        logit_scale=weights.clip.scale if hasattr(model, "logit_scale") else None,
        logit_bias=None if bias is None else float(bias.detach()),
        configuration=configuration,
        preprocess=asdict(weights.clip.preprocess),
    )


def _head_tensors(head: LinearHead) -> dict[str, Tensor]:
    import torch

    arrays = {"head.weight": head.weight, "head.bias": head.bias}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save

    own = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    write_atomic(path, save(own, metadata={"format": "pt"}))


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()


def _save_tokenizer(clip: Clip, configuration: Mapping[str, Any], folder: Path) -> None:
    """Save a tokenizer of transformers, which open_clip and bench read from the folder."""
    if configuration["text_cfg"].get("hf_tokenizer_name"):
        clip.tokenizer.tokenizer.save_pretrained(str(folder))


def _check_loads(folder: Path, state: Mapping[str, Tensor], study: Study) -> None:
    """Raise InputError unless open_clip builds the model of a folder with exactly these weights."""
    import torch

    try:
        loaded = load_folder(folder, "its folder").model.state_dict()
        odd = [n for n, t in state.items() if n not in loaded or not torch.equal(t, loaded[n])]
        reason = f"its folder would have another {odd[0]}" if odd else ""
    except InputError as error:
        reason = str(error)
    if reason:
        raise InputError(
            f"open_clip cannot build {study.model} as it is: use --format {SAFETENSORS} "
            f"({shortened(reason, 200)})"
        )
