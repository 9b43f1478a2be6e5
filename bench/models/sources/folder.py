"""Models in a folder: as open_clip writes them, or as transformers saves its CLIP and SigLIP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.api.reading import Reading
from bench.api.recipes import Backbone
from bench.core.errors import InputError, reason_of
from bench.core.foreign.documents import read_json
from bench.core.hashing import key_of
from bench.core.paths import local_path
from bench.data.readers.fingerprints import file_digest
from bench.models.files.folder_head import DESCRIPTION, read_folder_head
from bench.models.files.folder_head import WEIGHTS as HEAD
from bench.models.files.transformers_config import open_clip_configuration
from bench.models.sources.source import LoadedModel, check_packages

LOCAL_DIR = "local-dir"

OPEN_CLIP, TRANSFORMERS = "open_clip_config.json", "config.json"
"""The files with the architecture, by which a folder is known."""

WEIGHTS: Mapping[str, tuple[str, ...]] = {
    OPEN_CLIP: (
        "open_clip_model.safetensors",
        "open_clip_pytorch_model.safetensors",
        "open_clip_pytorch_model.bin",
        "open_clip_pytorch_model.pth",
    ),
    TRANSFORMERS: ("model.safetensors", "pytorch_model.bin"),
}
"""The names of files of weights; the first that exists is taken."""

PREPROCESSING = ("preprocessor_config.json", "processor_config.json")

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "vocab.json", "merges.txt", "vocab.txt", "spiece.model", "sentencepiece.bpe.model",
    "tokenizer.model",
)  # fmt: skip
"""The files of transformers' tokenizers."""


class ModelFolder:
    """A folder with a configuration, weights and, if it needs one, a tokenizer of transformers.

    Implements `bench.models.sources.source.Source`. The digest is that of the contents of these
    files, so that a folder may be moved.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.sources.folder import ModelFolder
    >>> ModelFolder().identify("local-dir:nowhere", "nowhere", Path("cache"), None)
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: --model local-dir:nowhere: no such folder; give one with ...
    """

    def default_weights(self, model: str) -> str:
        """Return the part after the colon, a path."""
        return named_after(model, "PATH")

    def identify(
        self, model: str, pretrained: str, cache_dir: Path, reading: Reading | None
    ) -> Backbone:
        """Return the backbone in a folder, whose contents may not be described otherwise."""
        check_alone(model, pretrained, reading)
        folder = Path(local_path(pretrained, "model folder")).expanduser()
        name = f"--model {LOCAL_DIR}:{pretrained}"
        if not folder.is_dir():
            raise InputError(f"{name}: no such folder; give one with {OPEN_CLIP} or {TRANSFORMERS}")
        kind, configuration = described(folder, name)
        check_packages(f"{LOCAL_DIR}:{pretrained}", configuration)
        weights = weights_in(folder, kind, name)
        beside = [one for one in (*PREPROCESSING, *TOKENIZER) if (folder / one).is_file()]
        if configuration["text_cfg"].get("hf_tokenizer_name") and not set(beside) & set(TOKENIZER):
            raise InputError(
                f"{name} has no tokenizer, such as tokenizer.json: save the model's tokenizer "
                "there, tokenizer.save_pretrained(FOLDER)"
            )
        heads = [one for one in (DESCRIPTION, HEAD) if (folder / one).is_file()]
        files = sorted([kind, weights, *beside, *heads])
        digests = [[one, file_digest((folder / one).resolve(), cache_dir)] for one in files]
        return Backbone(LOCAL_DIR, str(folder), key_of("folder", digests), Reading())

    def configuration(self, backbone: Backbone) -> dict[str, Any]:
        """Return open_clip's configuration of the model in the folder."""
        return described(Path(backbone.pretrained), f"--model {backbone.model}")[1]

    def load(self, backbone: Backbone) -> LoadedModel:
        """Load the model of the folder."""
        return load_folder(Path(backbone.pretrained), str(backbone))


def named_after(model: str, what: str) -> str:
    """Return what stands after the colon in a model's name. Raises InputError if nothing does.

    Examples
    --------
    >>> from bench.models.sources.folder import named_after
    >>> named_after("local-dir:models/mine", "PATH")
    'models/mine'
    """
    prefix, _, name = model.partition(":")
    if not name:
        raise InputError(f"--model {prefix} needs more: --model {prefix}:{what}")
    return name


def check_alone(model: str, pretrained: str, reading: Reading | None) -> None:
    """Raise InputError if more is said of a model than its name, which says it all.

    Examples
    --------
    >>> from bench.models.sources.folder import check_alone
    >>> check_alone("local-dir:models/mine", "models/mine", None)
    """
    prefix, colon, name = model.partition(":")
    if colon and name != pretrained:
        raise InputError(
            f"--pretrained {pretrained}: --model {prefix}:{name} has its own weights: leave "
            "--pretrained out"
        )
    if reading is not None and reading.said():
        raise InputError(
            f"--set model.{next(iter(reading.said()))}: --model {prefix}:{pretrained} describes "
            "itself: leave the option out, or change its configuration"
        )


def described(folder: Path, name: str) -> tuple[str, dict[str, Any]]:
    """Return (the file that describes the model of a folder, open_clip's configuration of it).

    Raises InputError, beginning with `name`, if there is none, or not of a model that is read.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.sources.folder import described
    >>> _ = Path("config.json").write_text('{"model_type": "siglip"}')
    >>> kind, found = described(Path(), "--model local-dir:.")
    >>> kind, found["embed_dim"]
    ('config.json', 768)
    """
    if (folder / OPEN_CLIP).is_file():
        path = folder / OPEN_CLIP
        whole = read_json(path)
        found = whole.get("model_cfg") if isinstance(whole, dict) else None
        kinds = {"embed_dim": int, "vision_cfg": dict, "text_cfg": dict}
        own = found if isinstance(found, dict) else {}
        if not all(isinstance(own.get(part), kind) for part, kind in kinds.items()):
            raise InputError(
                f"{name}: {path.name} has no model_cfg with embed_dim, vision_cfg and text_cfg, as "
                "open_clip writes it: check the file"
            )
        return OPEN_CLIP, own
    if (folder / TRANSFORMERS).is_file():
        path = folder / TRANSFORMERS
        return TRANSFORMERS, open_clip_configuration(read_json(path), path)
    is_plain = (folder / DESCRIPTION).is_file()  # as bench export writes it
    mend = "export it again with --format open-clip" if is_plain else "give a model's folder"
    raise InputError(f"{name} has neither {OPEN_CLIP} nor {TRANSFORMERS}: {mend}")


def weights_in(folder: Path, kind: str, name: str) -> str:
    """Return the name of the file of weights in a folder. Raises InputError if there is none.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.sources.folder import TRANSFORMERS, weights_in
    >>> _ = Path("pytorch_model.bin").write_bytes(b"...")
    >>> weights_in(Path(), TRANSFORMERS, "--model local-dir:.")
    'pytorch_model.bin'
    """
    for own in WEIGHTS[kind]:
        if (folder / own).is_file():
            return own
    parts = any(folder.glob("*.index.json"))
    reason = "has its weights in several files: save all as one" if parts else "has no weights"
    raise InputError(f"{name} {reason}, {' or '.join(WEIGHTS[kind])}")


def load_folder(folder: Path, name: str) -> LoadedModel:
    """Load the model in a folder. Raises InputError, naming the model, if that is not possible.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.sources.folder import load_folder
    >>> load_folder(Path("nowhere"), "mine")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: mine has neither open_clip_config.json nor config.json: ...
    """
    import torch

    from bench.data.mini.model import CONFIGURATION, tiny_tokenizer  # timm knows its tower then
    from bench.models.files.backbone import load_weights, quiet
    from bench.models.files.containers import read_candidates
    from bench.models.files.preprocessing import from_processor
    from bench.models.sources.towers import two_towers

    kind, configuration = described(folder, name)
    path = folder / weights_in(folder, kind, name)
    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            model = _built(folder, kind, configuration)
    except Exception as error:  # open_clip, timm and transformers raise almost anything
        raise InputError(
            f"{name} cannot be built ({reason_of(error)}): check {kind} and the packages that it "
            "needs"
        ) from error
    caveats = load_weights(model, path, name, read_candidates(path))
    if kind == OPEN_CLIP:
        from open_clip.transform import PreprocessCfg

        preprocess, said = PreprocessCfg(**model.visual.preprocess_cfg), ""
    else:
        preprocess, said = from_processor(folder, model.visual.image_size, configuration)
    is_tiny = configuration["text_cfg"] == CONFIGURATION["text_cfg"]
    tokenizer = tiny_tokenizer() if is_tiny else _tokenizer(folder, configuration["text_cfg"], name)
    caveats = tuple(text for text in (*caveats, said) if text)
    head = read_folder_head(folder, configuration["embed_dim"], name)
    return LoadedModel(two_towers(model).eval(), tokenizer, preprocess, caveats, head)


def _built(folder: Path, kind: str, configuration: dict[str, Any]) -> Any:
    """Return the model of a folder with random weights; nothing is downloaded for its towers."""
    import open_clip

    from bench.models.files.siglip import build_siglip

    if kind == OPEN_CLIP:
        return open_clip.create_model(
            f"{LOCAL_DIR}:{folder}", load_weights=False, pretrained_text=False
        )
    if "init_logit_bias" in configuration:
        return build_siglip(configuration)
    return open_clip.CLIP(**configuration)


def _tokenizer(folder: Path, text: Mapping[str, Any], name: str) -> Any:
    from open_clip.tokenizer import HFTokenizer, SimpleTokenizer

    more = dict(text.get("tokenizer_kwargs") or {})
    length = text.get("context_length", 77)
    if not text.get("hf_tokenizer_name"):
        return SimpleTokenizer(context_length=length, **more)
    try:
        return HFTokenizer(
            str(folder), context_length=length, tokenizer_mode=text.get("tokenizer_mode"), **more
        )
    except Exception as error:  # transformers raises almost anything
        raise InputError(
            f"the tokenizer of {name} cannot be read ({reason_of(error)}): save it again, "
            "tokenizer.save_pretrained(FOLDER)"
        ) from error
