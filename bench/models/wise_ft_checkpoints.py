"""A safe reader for classifiers released by WiSE-FT's code; it executes no code from the file.

wise-ft (58b7a4b) saves a complete `ImageClassifier` with plain ``pickle.dump``, in which every
storage is a stream in the old format of ``torch.save`` (``src/models/utils.py``). VRF (de9647d)
reads the same files. CaRot (c3e8bdc) also saves the class with ``torch.save``, as a zip archive.

torch's weights-only reader supports neither plain pickles nor the opcodes of protocols 3 and 4, so
bench has its own reader. Names on its list become a tensor, a dictionary, a set or an `Inert`
object without behaviour. Any other name stops the reader before it is imported.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from bench.core.errors import InputError
from bench.core.foreign.expansion import check_zip
from bench.core.foreign.files import open_regular
from bench.core.foreign.opcodes import OpcodeError, check_opcodes
from bench.models.files.containers import refuse_text
from bench.models.files.names import unwrapped
from bench.models.files.strict import widened

CLASSIFIER = "src.models.modeling.ImageClassifier"

INERT = (
    "src.models.modeling.",
    "clip.model.",
    "clip.clip._convert_to_rgb",
    "torch.nn.modules.",
    "torchvision.transforms.",
    "PIL.Image.Resampling",
)
"""Prefixes of names that become `Inert` objects: modules, and the transforms saved with them."""

STORAGES = {
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.LongStorage": torch.int64,
}


MODULES = 10_000
"""The most modules of a classifier, counted as often as they are named."""


@dataclass(frozen=True)
class ReleasedClassifier:
    """A released (encoder, head) pair; all tensors on the CPU, contiguous, floats as float32.

    Attributes
    ----------
    encoder : the image tower's state dict, with the names that OpenAI's and open_clip's ViT share.
    text : all other tensors of the CLIP model (its text transformer is deleted before training).
    head_weight, head_bias : [C, D] and [C]; the weight includes the zero-shot scale.
    normalize : whether the head takes L2-normalised features.
    digest : SHA-256 of the file.

    Examples
    --------
    >>> import torch
    >>> from bench.models.wise_ft_checkpoints import ReleasedClassifier
    >>> released = ReleasedClassifier({}, {}, torch.zeros(10, 4), torch.zeros(10), True, "1f" * 32)
    >>> len(released.head_bias)
    10
    """

    encoder: Mapping[str, Tensor]
    text: Mapping[str, Tensor]
    head_weight: Tensor
    head_bias: Tensor
    normalize: bool
    digest: str


def read_classifier(path: Path) -> ReleasedClassifier:
    """Read a pickled `ImageClassifier`, on any machine and without its code.

    Raises InputError if the file is absent, truncated or not such a file, if it contains a name
    that such a classifier does not have, or if tensors are missing or their shapes do not match.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.models.wise_ft_checkpoints import read_classifier
    >>> torch.save({"weight": torch.zeros(2)}, "state.pt")
    >>> read_classifier(Path("state.pt"))
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: checkpoint state.pt contains dict, expected ...
    """
    try:
        with open_regular(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            return _classifier(_unpickled(file, path), path, digest)
    except OSError as error:
        raise InputError(f"checkpoint {path}: {error.strerror or error}") from error
    except InputError:
        raise
    except Exception as error:  # damaged pickles raise almost anything
        told = f" ({error})" if isinstance(error, OpcodeError) else ""
        raise InputError(
            f"checkpoint {path} is truncated, damaged or not a checkpoint{told}: download it again"
        ) from error


def check_fits(released: ReleasedClassifier, tower: Mapping[str, Tensor]) -> None:
    """Raise InputError unless the encoder has the names and shapes of a backbone's image tower.

    A state dict does not contain the activation function; these classifiers use QuickGELU.

    Examples
    --------
    >>> import torch
    >>> from bench.models.wise_ft_checkpoints import ReleasedClassifier, check_fits
    >>> encoder, head = {"proj": torch.zeros(4, 2)}, (torch.zeros(10, 2), torch.zeros(10))
    >>> released = ReleasedClassifier(encoder, {}, *head, normalize=True, digest="1f" * 32)
    >>> check_fits(released, {"proj": torch.zeros(4, 3)})
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: released proj is (4, 2), the model's is (4, 3); give ...
    """
    advice = "give the --model it was made with"
    encoder = released.encoder
    for name, tensor in tower.items():
        if name not in encoder:
            raise InputError(f"released image tower has no {name}, which the model has; {advice}")
        found, wanted = tuple(encoder[name].shape), tuple(tensor.shape)
        if found != wanted:
            raise InputError(f"released {name} is {found}, the model's is {wanted}; {advice}")
    for name in encoder:
        if name not in tower:
            raise InputError(f"released image tower has {name!r}, which the model lacks; {advice}")


class Inert:
    """Placeholder for an accepted class or function, with its saved attributes but no methods.

    Examples
    --------
    >>> from bench.models.wise_ft_checkpoints import Inert
    >>> Inert("whatever", "a pickle", "passes").path
    ''
    """

    path = ""

    def __init__(self, *_: object) -> None:
        pass


class _Reader(pickle.Unpickler):
    """An unpickler that calls only its own methods, OrderedDict, set and `Inert`.

    A pickle may set attributes of the objects it names. Functions and inert classes are therefore
    created separately for each file, so a pickle cannot change anything outside. `storage` returns
    the storage of a (dtype, key) that is not in the pickle itself.
    """

    def __init__(
        self,
        file: IO[bytes],
        source: Path,
        storage: Callable[[torch.dtype, str], object] | None = None,
    ) -> None:
        super().__init__(file)
        self.source = source
        self.storage = storage
        self.left = source.stat().st_size
        self.inert: dict[str, type[Inert]] = {}

    def find_class(self, module: str, name: str) -> Any:
        path = f"{module}.{name}"
        accepted = {
            "collections.OrderedDict": OrderedDict,
            "builtins.set": set,
            "__builtin__.set": set,
            "torch._utils._rebuild_parameter": lambda *args: self._parameter(*args),
            "torch._utils._rebuild_tensor_v2": lambda *args: self._tensor(*args),
            "torch.storage._load_from_bytes": lambda *args: self._storage(*args),
            **STORAGES,
        }
        if path in accepted:
            return accepted[path]
        if path.startswith(INERT) and path.replace(".", "").isidentifier():
            return self.inert.setdefault(path, type("Inert", (Inert,), {"path": path}))
        raise InputError(
            f"checkpoint {self.source} names {path!r:.100}, which no released classifier contains: "
            "stopped reading, as it could run code; expected a checkpoint of the wise-ft code"
        )

    def persistent_load(self, pid: Any) -> object:
        if self.storage is None:
            raise pickle.UnpicklingError("the file refers to a storage outside of it")
        _, dtype, key, *_ = pid
        return self.storage(dtype, key)

    def _storage(self, data: bytes) -> Tensor:
        """Return the storage [n] in a stream of the old ``torch.save`` format.

        The stream has five pickles (magic number, version, system, the storage's dtype, its key),
        then the number of elements as int64, then the elements.
        """
        stream = io.BytesIO(data)
        self.left -= len(data)
        if self.left < 0:
            raise pickle.UnpicklingError("the tensors have more bytes than the file")
        for _ in range(5):
            check_opcodes(stream)
        stream.seek(0)
        inner = _Reader(stream, self.source, lambda dtype, key: dtype)
        _, _, _, dtype, _ = (inner.load() for _ in range(5))
        count = int.from_bytes(stream.read(8), "little")
        return torch.frombuffer(bytearray(stream.read()), dtype=dtype, count=count)

    def _tensor(self, storage: Tensor, offset: int, size: Any, stride: Any, *_: object) -> Tensor:
        return storage.as_strided(size, stride, offset)  # raises if out of bounds

    def _parameter(self, data: Tensor, *_: object) -> Tensor:
        return data


def _unpickled(file: IO[bytes], path: Path) -> object:
    head = file.read(64)
    file.seek(0)
    if head:
        refuse_text(path, head)
    if not head.startswith(b"PK"):
        check_opcodes(file)
        file.seek(0)
        return _Reader(file, path).load()
    with zipfile.ZipFile(file) as archive:
        names = check_zip(archive, path).namelist()
        pickled = next(name for name in names if name.endswith("data.pkl"))
        folder = pickled.removesuffix("data.pkl")

        @cache  # the tensors of one storage share it
        def storage(dtype: torch.dtype, key: str) -> Tensor:
            return torch.frombuffer(bytearray(archive.read(f"{folder}data/{key}")), dtype=dtype)

        instructions = io.BytesIO(archive.read(pickled))
        check_opcodes(instructions)
        instructions.seek(0)
        return _Reader(instructions, path, storage).load()


def _classifier(root: object, path: Path, digest: str) -> ReleasedClassifier:
    kind = type(root).path if isinstance(root, Inert) else type(root).__name__
    if kind != CLASSIFIER:
        hint = (
            " (a state dict does not show how the head is used)" if isinstance(root, dict) else ""
        )
        raise InputError(f"checkpoint {path} contains {kind}, expected {CLASSIFIER}{hint}")
    tensors = widened(unwrapped(_tensors(root), path, ()), f"checkpoint {path}")
    clip = _below("image_encoder.model.", tensors)
    encoder = _below("visual.", clip)
    head = _below("classification_head.", tensors)
    if not encoder:
        raise InputError(f"checkpoint {path} has no image_encoder.model.visual")
    for name in ("weight", "bias"):
        if name not in head:
            raise InputError(f"checkpoint {path} has no classification_head.{name}")
    weight, bias = head["weight"], head["bias"]
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        shapes = f"weight {tuple(weight.shape)} and bias {tuple(bias.shape)}"
        raise InputError(
            f"checkpoint {path}: classification_head has {shapes}, expected [C, D] and [C]"
        )
    if "proj" in encoder and encoder["proj"].shape[-1:] != weight.shape[-1:]:
        shapes = f"{tuple(encoder['proj'].shape)} does not match the head's {tuple(weight.shape)}"
        raise InputError(f"checkpoint {path}: the shape of visual.proj {shapes}")
    normalize = vars(vars(root)["_modules"]["classification_head"]).get("normalize")
    if not isinstance(normalize, bool):
        raise InputError(
            f"checkpoint {path}: classification_head has no boolean attribute 'normalize'"
        )
    text = {name: tensor for name, tensor in clip.items() if not name.startswith("visual.")}
    return ReleasedClassifier(encoder, text, weight, bias, normalize, digest)


def _tensors(module: object) -> dict[str, Tensor]:
    """Return the state dict of a torch module that was read as `Inert`: {dotted name: tensor}."""
    found: dict[str, Tensor] = {}
    pending, count = [("", module)], 0
    while pending:
        prefix, inner = pending.pop(0)
        slots = vars(inner)
        for name, tensor in (slots["_parameters"] | slots["_buffers"]).items():
            if tensor is not None:
                found[f"{prefix}{name}"] = tensor
        for name, child in slots["_modules"].items():
            if child is not None:
                pending.append((f"{prefix}{name}.", child))
        count += 1
        if count > MODULES:
            raise ValueError(f"more than {MODULES:,} modules, shared ones counted")
    return found


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
