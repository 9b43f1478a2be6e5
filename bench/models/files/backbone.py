"""Load a backbone from a checkpoint file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.api.reading import Reading
from bench.api.recipes import Backbone
from bench.core.errors import InputError, reason_of
from bench.models.files.containers import State, choose_weights, read_candidates
from bench.models.files.names import OPENAI, adapted
from bench.models.files.preprocessing import FIELDS, assumed
from bench.models.files.strict import check_kinds, load_strictly, widened
from bench.models.files.values import check_values
from bench.models.sources.released_tags import TINY
from bench.models.sources.towers import two_towers


def load_file(identity: Backbone) -> tuple[Any, Any, tuple[str, ...]]:
    """Return (model, preprocessing, caveats) of a backbone in a checkpoint file, in float32.

    Raises InputError if the file cannot be read or is not a checkpoint of the model.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.data.mini.model import load_tiny
    >>> from bench.models.clip import identify_backbone
    >>> from bench.models.files.backbone import load_file
    >>> torch.save(load_tiny().state_dict(), "tiny.pt")
    >>> model, preprocess, caveats = load_file(identify_backbone("tiny", "tiny.pt", Path("cache")))
    >>> preprocess.size, caveats
    (32, ())
    """
    from open_clip.transform import PreprocessCfg

    path, name = Path(identity.pretrained), identity.model
    reading = identity.reading or Reading()
    found = read_candidates(path)
    is_openai = any(tensors.keys() >= OPENAI for tensors in found.values())
    if name == TINY:
        model, preprocess, caveats = _tiny(reading)
    else:
        quick = bool(_config(name).get("quick_gelu", False))
        use = assumed(name, quick, reading, is_openai)
        model = _built(name, use.quick_gelu, reading.image_size)
        preprocess = PreprocessCfg(size=model.visual.image_size, **use.preprocess)
        caveats = use.caveats
    others, *values = load_weights(model, path, name, found, reading.weights)
    said = tuple(text for text in (others, *caveats, *values) if text)
    return two_towers(model).eval(), preprocess, said


def load_weights(
    model: Any,
    path: Path,
    name: str,
    found: dict[str, State],
    wanted: str | None = None,
) -> tuple[str, ...]:
    """Load weights that `read_candidates` found in a file into an open_clip model; return caveats.

    The first is on other weights in the file, ``""`` if there are none. `name` is the model's in
    messages, `wanted` the place of the weights to take, if said. Raises InputError if they are not
    those of the model.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.data.mini.model import build_tiny, load_tiny
    >>> from bench.models.files.backbone import load_weights
    >>> load_weights(build_tiny(), Path("w.pt"), "tiny", {"model": load_tiny().state_dict()})
    ('',)
    """
    fitting = {}
    known = model.state_dict().keys()
    for place, tensors in found.items():
        try:
            check_kinds(tensors, f"checkpoint {path}")
            found[place] = adapted(tensors, model, path)
        except InputError:
            if len(found) == 1 or place == wanted:
                raise
        fitting[place] = len(known & found[place].keys())
    taken, others = choose_weights(path, found, fitting, wanted)
    source = f"checkpoint {path}"
    load_strictly(model, widened(found[taken], source), source, name)
    return (others, *check_values(model.state_dict(), source))


def _tiny(reading: Reading) -> tuple[Any, Any, tuple[str, ...]]:
    from open_clip.transform import PreprocessCfg

    from bench.data.mini.model import PREPROCESS, build_tiny

    said = reading.said()
    for field in ("like", "quick_gelu", "image_size"):
        if field in said:
            raise InputError(
                f"--set model.{field}: model tiny has one activation and one image size, and no "
                "released weights: leave it out"
            )
    own = {FIELDS[name]: value for name, value in said.items() if name in FIELDS}
    return build_tiny(), PreprocessCfg(**PREPROCESS | own), ()


def _config(name: str) -> dict[str, Any]:
    import open_clip

    return dict(open_clip.get_model_config(name) or {})


def _built(name: str, quick_gelu: bool, image_size: int | None) -> Any:
    """Return an open_clip model without weights; nothing is downloaded for its towers."""
    import open_clip

    try:
        with quiet():
            return open_clip.create_model(
                name,
                pretrained_text=False,
                force_image_size=image_size,
                quick_gelu=quick_gelu,
            )
    except Exception as error:  # open_clip, timm and transformers raise almost anything
        size = f" for images of {image_size} pixels" if image_size else ""
        raise InputError(
            f"--model {name}{size} cannot be built ({reason_of(error)}): check the name, the "
            "packages it needs and --set model.image_size"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip from warning that a model without weights has none.

    Examples
    --------
    >>> import logging
    >>> from bench.models.files.backbone import quiet
    >>> with quiet():
    ...     logging.warning("No pretrained weights loaded")
    """
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
