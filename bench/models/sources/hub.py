"""Models in Hugging Face's hub, by the name of their repository: ``hf-hub:OWNER/NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.api.reading import Reading
from bench.api.recipes import Backbone
from bench.core.errors import InputError, reason_of
from bench.models.files.folder_head import DESCRIPTION
from bench.models.files.folder_head import WEIGHTS as HEAD
from bench.models.sources.folder import (
    OPEN_CLIP,
    PREPROCESSING,
    TOKENIZER,
    TRANSFORMERS,
    WEIGHTS,
    check_alone,
    described,
    load_folder,
    named_after,
)
from bench.models.sources.network import go_offline_without_network
from bench.models.sources.source import LoadedModel, check_packages

HUB = "hf-hub"


class Hub:
    """A repository of the hub, in the form of a folder: see `bench.models.sources.folder`.

    Implements `bench.models.sources.source.Source`. ``OWNER/NAME@REVISION`` names a revision. The
    digest is the commit, so a repository that changes is another model. A plan downloads the
    configuration alone, a few kilobytes; weights and tokenizer are downloaded when they are loaded.

    Examples
    --------
    >>> from bench.models.sources.hub import Hub
    >>> Hub().default_weights("hf-hub:owner/name")
    'owner/name'
    """

    def default_weights(self, model: str) -> str:
        """Return the part after the colon, the name of a repository."""
        return named_after(model, "OWNER/NAME")

    def identify(
        self, model: str, pretrained: str, cache_dir: Path, reading: Reading | None
    ) -> Backbone:
        """Return the backbone in a repository, at the commit that its revision has now."""
        check_alone(model, pretrained, reading)
        name, _, revision = pretrained.partition("@")
        if name.count("/") != 1 or not all(name.split("/")):
            raise InputError(f"--model {HUB}:{pretrained}: expected {HUB}:OWNER/NAME[@REVISION]")
        go_offline_without_network()
        path = _file(name, revision or None, (OPEN_CLIP, TRANSFORMERS))
        _, configuration = described(path.parent, f"{HUB}:{name}")
        check_packages(f"{HUB}:{pretrained}", configuration)
        return Backbone(HUB, name, path.parent.name, Reading())

    def configuration(self, backbone: Backbone) -> dict[str, Any]:
        """Return open_clip's configuration of the model in the repository."""
        path = _file(backbone.pretrained, backbone.digest, (OPEN_CLIP, TRANSFORMERS))
        return described(path.parent, str(backbone))[1]

    def load(self, backbone: Backbone) -> LoadedModel:
        """Download what is not in the hub's cache yet, and load the model."""
        from huggingface_hub import snapshot_download

        go_offline_without_network()
        name, commit = backbone.pretrained, backbone.digest
        kind = _file(name, commit, (OPEN_CLIP, TRANSFORMERS)).name
        folder = _file(name, commit, WEIGHTS[kind]).parent
        wanted = [*PREPROCESSING, *TOKENIZER, DESCRIPTION, HEAD]
        try:
            snapshot_download(name, revision=commit, allow_patterns=wanted)
        except Exception as error:
            raise _unreachable(name, "its tokenizer", error) from error
        return load_folder(folder, str(backbone))


def _file(name: str, revision: str | None, wanted: tuple[str, ...]) -> Path:
    """Return the path of the first of the files that a repository has, in the hub's cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    missing: Exception | None = None
    for one in wanted:
        try:
            return Path(hf_hub_download(name, one, revision=revision))
        except LocalEntryNotFoundError as error:  # also where there is no network
            missing = error
        except EntryNotFoundError:
            continue
        except Exception as error:  # of the network, of access rights, of names
            raise _unreachable(name, one, error) from error
    if missing is not None:
        raise _unreachable(name, " or ".join(wanted), missing) from missing
    raise InputError(
        f"--model {HUB}:{name} has no {' or '.join(wanted)}: give a repository of open_clip's or "
        "transformers' CLIP or SigLIP, with its weights in one file"
    )


def _unreachable(name: str, what: str, error: Exception) -> InputError:
    return InputError(
        f"--model {HUB}:{name}: {what} cannot be downloaded ({reason_of(error)}); check the name, "
        "connect to the network, or give a local folder as --model local-dir:PATH"
    )
