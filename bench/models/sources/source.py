"""The interface of a source of models: an adapter for each kind of name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from bench.api.reading import Reading
from bench.api.recipes import Backbone
from bench.core.errors import InputError
from bench.models.files.folder_head import FolderHead

EXTRA = "transformers"
"""The extra of bench with the packages for tokenizers and text towers of Hugging Face."""


class LoadedModel(NamedTuple):
    """A loaded model: the open_clip model, its tokenizer, its ``PreprocessCfg``, and caveats.

    `head` is the classifier that a folder has beside its model; often None.

    Examples
    --------
    >>> from bench.models.sources.source import LoadedModel
    >>> LoadedModel(model=None, tokenizer=None, preprocess=None).caveats
    ()
    """

    model: Any
    tokenizer: Any
    preprocess: Any
    caveats: tuple[str, ...] = ()
    head: FolderHead | None = None


class Source(Protocol):
    """Where models come from. A plan calls all but `load`, which alone may need torch."""

    def default_weights(self, model: str) -> str:
        """Return the weights of a model that is named alone. Raises InputError if it has none."""
        ...

    def identify(
        self, model: str, pretrained: str, cache_dir: Path, reading: Reading | None
    ) -> Backbone:
        """Return the backbone of ``--model`` and ``--pretrained``.

        Raises InputError for what does not exist, and if something is missing that loading needs.
        """
        ...

    def configuration(self, backbone: Backbone) -> dict[str, Any]:
        """Return open_clip's configuration of a backbone; empty if it has none."""
        ...

    def load(self, backbone: Backbone) -> LoadedModel:
        """Load a backbone on the CPU, in float32 and evaluation mode. Raises InputError."""
        ...


def check_packages(model: str, configuration: dict[str, Any]) -> None:
    """Raise InputError if the text of a model needs the package transformers, which is absent.

    Examples
    --------
    >>> from bench.models.sources.source import check_packages
    >>> check_packages("ViT-B-32", {"text_cfg": {"context_length": 77}})
    """
    text = configuration.get("text_cfg", {})
    for field, part in (("hf_model_name", "text tower"), ("hf_tokenizer_name", "tokenizer")):
        if text.get(field) and importlib.util.find_spec("transformers") is None:
            raise InputError(
                f"--model {model} has a {part} of the package transformers, which is not "
                f"installed: pip install 'robust-ft-bench[{EXTRA}]'"
            )
