"""Checkpoint files: every container, wrapper and number format that people have, or a refusal."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from bench.api.reading import Reading
from bench.core.errors import InputError
from bench.data.mini.model import load_tiny
from bench.models.clip import Clip, identify_backbone, load_clip

State = dict[str, Tensor]
PLAIN: State = {name: t.clone() for name, t in load_tiny().state_dict().items()}
FIRST = next(name for name, t in PLAIN.items() if t.ndim > 1)


def loaded(path: Path, reading: Reading | None = None) -> Clip:
    return load_clip(identify_backbone("tiny", str(path), path.parent / "cache", reading))


def refusal(path: Path, reading: Reading | None = None) -> str:
    with pytest.raises(InputError) as caught:
        loaded(path, reading)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500 and path.name in message
    return message


def same(found: Any, expected: State = PLAIN, atol: float = 0.0) -> None:
    state = found.model.state_dict()
    assert state.keys() == expected.keys()
    for name, tensor in state.items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, expected[name], rtol=0, atol=atol)


def scripted(state: State) -> torch.jit.ScriptModule:
    """A TorchScript module with these tensors, as `torch.jit.script` or `trace` leave them."""

    class Part(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    root = Part()
    for name, value in state.items():
        place, (*path, last) = root, name.split(".")
        for part in path:
            if part not in place._modules:
                place.add_module(part, Part())
            place = place._modules[part]  # type: ignore[assignment]
        place.register_buffer(last, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch announces the end of TorchScript
        return torch.jit.script(root)


def changed(**changes: Any) -> State:
    return {**PLAIN, **changes}


FORMS: dict[str, Callable[[], object]] = {
    "plain": lambda: PLAIN,
    "module": lambda: {f"module.{n}": t for n, t in PLAIN.items()},
    "compiled": lambda: {f"_orig_mod.{n}": t for n, t in PLAIN.items()},
    "both": lambda: {f"module._orig_mod.{n}": t for n, t in PLAIN.items()},
    "tower": lambda: {n.replace("visual.", "visual.module.", 1): t for n, t in PLAIN.items()},
    "lightning": lambda: {"state_dict": {f"model.{n}": t for n, t in PLAIN.items()}},
    "wrapped twice": lambda: {"state_dict": {f"clip.module.{n}": t for n, t in PLAIN.items()}},
    "model": lambda: {"epoch": 3, "model": PLAIN, "args": argparse.Namespace(lr=1e-5)},
    "deep": lambda: {"checkpoint": {"net": {"state_dict": PLAIN}}},
    "optimizer": lambda: {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}}, "model": PLAIN
    },
    "only ema": lambda: {"state_dict_ema": PLAIN},
    "double": lambda: {n: t.double() for n, t in PLAIN.items()},
    "position ids": lambda: changed(**{"transformer.position_ids": torch.arange(3)}),
    "mask": lambda: changed(attn_mask=torch.full((3, 3), float("-inf"))),
    "scale": lambda: changed(logit_scale=PLAIN["logit_scale"].reshape(1)),
    "custom text": lambda: {
        n if n.startswith(("visual.", "logit")) else f"text.{n}": t for n, t in PLAIN.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_forms_are_read_as_the_plain_file(form: str, tmp_path: Path) -> None:
    torch.save(FORMS[form](), tmp_path / "weights.pt")
    clip = loaded(tmp_path / "weights.pt")
    same(clip)
    assert clip.caveats == ()


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights"])
def test_a_file_is_what_it_contains(name: str, tmp_path: Path) -> None:
    save_file({n: t.contiguous() for n, t in PLAIN.items()}, tmp_path / name)
    same(loaded(tmp_path / name))
    torch.save(PLAIN, tmp_path / name)
    same(loaded(tmp_path / name))
    torch.save(PLAIN, tmp_path / name, _use_new_zipfile_serialization=False)
    same(loaded(tmp_path / name))


@pytest.mark.filterwarnings("ignore:.torch.jit.save. is deprecated")
def test_a_torchscript_archive_is_read(tmp_path: Path) -> None:
    torch.jit.save(scripted(PLAIN), tmp_path / "weights.pt")
    same(loaded(tmp_path / "weights.pt"))
    numbers = {n: torch.tensor(7) for n in ("input_resolution", "context_length", "vocab_size")}
    torch.jit.save(scripted(PLAIN | numbers), tmp_path / "openai.pt")
    same(loaded(tmp_path / "openai.pt"))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(dtype: torch.dtype, tmp_path: Path) -> None:
    half = {n: t.to(dtype) for n, t in PLAIN.items()}
    torch.save(half, tmp_path / "half.pt")
    same(loaded(tmp_path / "half.pt"), {n: t.float() for n, t in half.items()})


DAMAGED = {
    "nan": (changed(**{FIRST: torch.full_like(PLAIN[FIRST], float("nan"))}), "not finite"),
    "inf": (changed(logit_scale=torch.tensor(float("inf"))), "not finite"),
    "too large": (changed(logit_scale=torch.tensor(1e300).double()), "not finite"),
    "all zero": ({n: t * 0 for n, t in PLAIN.items()}, "all weights are 0"),
    "image zero": (
        {n: t * 0 if n.startswith("visual.") else t for n, t in PLAIN.items()},
        "all weights of the image tower are 0",
    ),
    "scale": (
        changed(logit_scale=torch.tensor(100.0)),
        "logit_scale is 100: expected its logarithm, about 4.6",
    ),
    "tiny scale": (changed(logit_scale=torch.tensor(-50.0)), "logit_scale is -50: expected the"),
    "integer": (changed(**{FIRST: PLAIN[FIRST].to(torch.int8)}), "int8"),
    "complex": (changed(**{FIRST: PLAIN[FIRST].to(torch.complex64)}), "complex64"),
    "boolean": (changed(**{FIRST: PLAIN[FIRST] > 0}), "bool"),
    "shape": (changed(**{FIRST: PLAIN[FIRST][:1]}), "give the --model it was made with"),
    "missing": ({n: t for n, t in PLAIN.items() if n != FIRST}, "it lacks"),
    "unexpected": (changed(classifier=torch.zeros(3)), "the model lacks its classifier"),
    "twice": (changed(**{f"module.{FIRST}": PLAIN[FIRST]}), "twice"),
    "image tower": (
        {n: t for n, t in PLAIN.items() if n.startswith("visual.")}, "it lacks positional_emb"
    ),
    "numbers": ({"epoch": 3, "loss": 0.5}, "without tensors"),
    "list": ([torch.zeros(3)], "without tensors"),
    "transformers": (
        {f"vision_model.{n.removeprefix('visual.')}": t for n, t in PLAIN.items()},
        "names of transformers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", DAMAGED)
def test_what_is_no_such_model_is_refused_by_name(form: str, tmp_path: Path) -> None:
    content, reason = DAMAGED[form]
    torch.save(content, tmp_path / "weights.pt")
    message = refusal(tmp_path / "weights.pt")
    assert reason in message
    if form in ("nan", "integer", "complex", "boolean", "shape", "missing", "twice"):
        assert FIRST in message


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_a_scale_that_flattens_probabilities_is_said(value: float, tmp_path: Path) -> None:
    torch.save(changed(logit_scale=torch.tensor(value)), tmp_path / "weights.pt")
    (caveat,) = loaded(tmp_path / "weights.pt").caveats
    assert f"logit_scale of the file is {value:.3g}," in caveat and "nearly flat" in caveat
    assert len(caveat) < 300


TEXTS = {
    "empty": (b"", "is empty"),
    "page": (b"\n<!DOCTYPE html><html>", "is a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:12", "git lfs pull"),
    "index": (json.dumps({"weight_map": {}}).encode(), "is JSON"),
    "noise": (b"\x80\x02 no pickle", "check that the file is complete"),
    "archive": (b"PK\x03\x04 cut", "check that the file is complete"),
}


@pytest.mark.parametrize("form", TEXTS)
def test_what_are_no_weights_is_said_to_be_what_it_is(form: str, tmp_path: Path) -> None:
    content, reason = TEXTS[form]
    (tmp_path / "weights.pt").write_bytes(content)
    assert reason in refusal(tmp_path / "weights.pt")


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    torch.save(PLAIN, tmp_path / "whole.pt")
    save_file({n: t.contiguous() for n, t in PLAIN.items()}, tmp_path / "whole.safetensors")
    for name in ("whole.pt", "whole.safetensors"):
        cut = tmp_path / f"cut-{name}"
        cut.write_bytes((tmp_path / name).read_bytes()[:-1000])
        assert "check that the file is complete" in refusal(cut)


def test_other_contents_are_refused(tmp_path: Path) -> None:
    torch.save(load_tiny(), tmp_path / "module.pt")
    assert "the Python object open_clip.model.CLIP" in refusal(tmp_path / "module.pt")
    np.savez(tmp_path / "weights.npz", w=np.zeros(3))
    assert "archive of NumPy arrays" in refusal(tmp_path / "weights.npz")


@pytest.mark.parametrize("other", ["state_dict_ema", "model_ema", "average", "teacher"])
def test_of_several_weights_it_is_said_which_were_taken(other: str, tmp_path: Path) -> None:
    averaged = {n: t * 1.5 for n, t in PLAIN.items()}
    path = tmp_path / "both.pt"
    torch.save({other: averaged, "state_dict": PLAIN, "epoch": 3}, path)
    clip = loaded(path)
    same(clip)
    (caveat,) = clip.caveats
    assert f"state_dict was taken, not {other}" in caveat and len(caveat) < 300
    assert caveat.endswith(f"--set model.weights={other}")
    chosen = loaded(path, Reading(weights=other))
    same(chosen, averaged)
    assert chosen.caveats == ()
    assert "'ema'" in refusal(path, Reading(weights="ema"))


def test_what_the_user_says_enters_keys_and_names(tmp_path: Path) -> None:
    from bench.core.hashing import key_of

    torch.save({"a": PLAIN, "b": PLAIN}, tmp_path / "w.pt")
    readings = (None, Reading(), Reading(weights="b"), Reading(mean=(0.0, 0.0, 0.0)))
    found = [
        identify_backbone("tiny", str(tmp_path / "w.pt"), tmp_path / "cache", r) for r in readings
    ]
    assert len({key_of(one) for one in found}) == 3 and found[0] == found[1]
    assert str(found[2]) == f"{found[0]} (weights b)"
    assert load_clip(found[3]).preprocess.mean == (0.0, 0.0, 0.0)


def test_keys_of_tags_and_embedded_weights_stay(tmp_path: Path) -> None:
    from bench.core.hashing import canonical

    for model, weights in (("tiny", "embedded"), ("ViT-B-32", "openai")):
        found = canonical(identify_backbone(model, weights, tmp_path, Reading()))
        assert found.keys() == {"type", "model", "digest"}


@pytest.mark.parametrize("weights", ["embedded", "openai"])
def test_of_released_weights_nothing_is_to_be_said(weights: str, tmp_path: Path) -> None:
    model = "tiny" if weights == "embedded" else "ViT-B-32"
    with pytest.raises(InputError, match=r"model\.quick_gelu says how a checkpoint file"):
        identify_backbone(model, weights, tmp_path, Reading(quick_gelu=True))
