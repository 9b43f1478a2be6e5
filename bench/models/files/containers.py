"""Weights in files: safetensors, torch's archives and pickles, TorchScript, with several in one."""

from __future__ import annotations

import argparse
import io
import itertools
import os
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from bench.core.errors import InputError, shortened, unknown_name
from bench.core.foreign.expansion import check_zip
from bench.core.foreign.files import open_regular
from bench.core.foreign.opcodes import OpcodeError, check_opcodes
from bench.core.foreign.tensors import refuse_repeated_names

State = dict[str, Tensor]

NOT_WEIGHTS = frozenset(
    {"optimizer", "optimizers", "optim", "optimizer_states", "scheduler", "lr_scheduler", "scaler"}
)
"""Names under which checkpoints keep tensors that are no weights."""

AVERAGED = re.compile(r"ema|avg|average|swa|teacher", re.IGNORECASE)
"""Names of weights beside the trained ones."""


OLD_FORM = 5
"""Pickles in a file of torch before 1.6: three on the format, the object, the storages' names."""


MAPPINGS = 100_000
"""The most dictionaries in a file, counted as often as they are named."""


def read_candidates(path: Path) -> dict[str, State]:
    """Return every set of weights in a file: {its place in the file: {name: tensor}}.

    A file that is a state dict itself has the place ``""``. No code in the file is executed, except
    that a TorchScript archive is loaded by torch. Raises InputError if the file has no weights.

    Examples
    --------
    >>> from pathlib import Path
    >>> import torch
    >>> from bench.models.files.containers import read_candidates
    >>> weights = {"w": torch.zeros(2)}
    >>> torch.save({"epoch": 3, "state_dict": weights, "state_dict_ema": weights}, "both.pt")
    >>> list(read_candidates(Path("both.pt")))
    ['state_dict', 'state_dict_ema']
    """
    root = _content(path)
    try:
        found = dict(_sets(root, "", itertools.count()))
    except InputError as error:
        raise InputError(f"checkpoint {path} has {error}") from error
    if not found:
        raise InputError(
            f"checkpoint {path} contains {type(root).__name__} without tensors by name: expected "
            "a state dict, as torch.save(model.state_dict(), FILE) writes"
        )
    return found


def _sets(
    value: object, place: str, count: Iterator[int], depth: int = 0
) -> Iterator[tuple[str, State]]:
    """Yield the sets of weights in a value; `count` numbers the mappings in it that are met."""
    if not isinstance(value, Mapping) or depth > 4:
        return
    if next(count) > MAPPINGS:
        raise InputError(
            f"more than {MAPPINGS:,} dictionaries, shared ones counted: save the weights alone, "
            "torch.save(model.state_dict(), FILE)"
        )
    own = {n: t for n, t in value.items() if isinstance(n, str) and isinstance(t, Tensor)}
    if own and len(own) >= len(value) / 2:
        yield place, own
    for name, inner in value.items():
        if isinstance(name, str) and name not in NOT_WEIGHTS:
            yield from _sets(inner, f"{place}.{name}" if place else name, count, depth + 1)


def choose_weights(
    path: Path, found: Mapping[str, State], fitting: Mapping[str, int], wanted: str | None
) -> tuple[str, str]:
    """Return the place of the weights to take, and a sentence on the others, or ``""``.

    Parameters
    ----------
    path : the file, for messages.
    found : all sets of weights in it.
    fitting : {place: number of the model's names that it has}.
    wanted : the place that the user asked for.

    Raises InputError if there is no such place. Of several that fit equally well, the first one
    that is no average over training is taken.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.files.containers import choose_weights
    >>> found = {"ema": {}, "model": {}}
    >>> choose_weights(Path("w.pt"), found, {"ema": 9, "model": 9}, None)
    ('model', '...w.pt has several weights: model was taken, not ema; ...model.weights=ema')
    """
    if wanted is not None:
        if wanted not in found:
            raise unknown_name(
                f"weights in {path}", wanted, [place or "(whole)" for place in found]
            )
        return wanted, ""
    best = max(fitting.values())
    close = [place for place in found if 2 * fitting[place] >= best and (best or not place)]
    close = close or list(found)
    plain = [place for place in close if not AVERAGED.search(place)]
    taken = (plain or close)[0]
    others = [place for place in close if place != taken]
    if not others or not best:
        return taken, ""
    listed = ", ".join(place or "(whole)" for place in others)
    shown = [shortened(text, 60) for text in (path.name, taken or "(whole)", listed, others[0])]
    return taken, (
        f"{shown[0]} has several weights: {shown[1]} was taken, not {shown[2]}; to take others: "
        f"--set model.weights={shown[3]}"
    )


def _content(path: Path) -> Any:
    """Return what a file holds, on the CPU. The kind of file is told by its first bytes."""
    try:
        with open_regular(path) as file:
            head = file.read(64)
        refuse_text(path, head)
        if head[:2] == b"PK":
            with zipfile.ZipFile(path) as archive:
                names = check_zip(archive, path).namelist()
                if len(set(names)) < len(names):  # readers differ in which they take
                    raise InputError(f"checkpoint {path} has a member twice: save it again")
                _check_sums(archive, path)
                for name in names:
                    if name.endswith("/data.pkl"):
                        check_opcodes(io.BytesIO(archive.read(name)))
            if any(name.endswith("/constants.pkl") for name in names):
                return _scripted(path)
            if names and all(name.endswith(".npy") for name in names):
                raise InputError(
                    f"checkpoint {path} is an archive of NumPy arrays, as big_vision writes: give "
                    "the released tag of such weights, or convert them with open_clip"
                )
        elif head[8:9] == b"{":
            from safetensors.torch import load_file

            found = load_file(path)
            refuse_repeated_names(path)
            return found
        safe = torch.serialization.safe_globals([argparse.Namespace])
        with safe, open_regular(path) as file:  # by its path, torch would go by its name
            if head[:2] != b"PK":
                _check_old_form(file)
            return torch.load(file, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except Exception as error:  # damaged files raise almost anything
        raise _unreadable(path, error) from error


def _check_sums(archive: zipfile.ZipFile, path: Path) -> None:
    """Raise InputError if a member of a zip does not match its checksum; torch compares none."""
    members = archive.infolist()
    if members and not any(member.CRC for member in members):
        raise InputError(
            f"checkpoint {path} was saved without checksums, so damage could not be noticed: save "
            "it again after torch.serialization.set_crc32_options(True)"
        )
    if found := archive.testzip():
        raise InputError(
            f"checkpoint {path} is damaged: {shortened(repr(found), 100)} in it does not match "
            "its CRC-32 checksum; copy or download the file again"
        )


def _check_old_form(file: BinaryIO) -> None:
    """Look through the pickles of a file that is no zip, and return to its start."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    for _ in range(OLD_FORM):
        check_opcodes(file)
        if file.tell() == size:
            break
    file.seek(0)


def _scripted(path: Path) -> State:
    """Return the tensors of a TorchScript archive; nothing in it is called."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of TorchScript
        module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    state: State = dict(module.state_dict())
    return state


def _unreadable(path: Path, error: Exception) -> InputError:
    text = str(error)
    if named := re.search(r"GLOBAL ([\w.]+)", text):
        if named[1].startswith("src.models.modeling"):
            return InputError(
                f"checkpoint {path} is a classifier of WiSE-FT's code, not a backbone: read it "
                "with bench import wise-ft"
            )
        return InputError(
            f"checkpoint {path} contains the Python object {named[1][:100]}, whose reading could "
            "run code: save the weights alone, torch.save(model.state_dict(), FILE)"
        )
    if isinstance(error, OSError) and error.strerror:
        return InputError(f"checkpoint {path}: {error.strerror}")
    told = f" ({error})" if isinstance(error, OpcodeError) else ""
    return InputError(
        f"checkpoint {path} has no weights that torch or safetensors can read{told}: check that "
        "the file is complete and is a checkpoint"
    )


def refuse_text(path: Path, head: bytes) -> None:
    """Raise InputError if a checkpoint, by its first bytes, is text: a page, a pointer, an index.

    Examples
    --------
    >>> from pathlib import Path
    >>> from bench.models.files.containers import refuse_text
    >>> refuse_text(Path("w.pt"), b"version https://git-lfs.github.com/spec/v1")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: checkpoint w.pt is a pointer of Git LFS, not the file: ...
    """
    text = head.lstrip()
    reasons = {
        b"<": "is a web page, not a checkpoint: the download failed, try it again",
        b"version https://git-lfs": "is a pointer of Git LFS, not the file: run git lfs pull",
        b"{": "is JSON, such as an index of several files, not weights: give the file of the "
        "weights; of weights in several files, save all as one",
    }
    if not head:
        raise InputError(f"checkpoint {path} is empty: check that the file is complete")
    for start, reason in reasons.items():
        if text.startswith(start):
            raise InputError(f"checkpoint {path} {reason}")
