"""Released checkpoints are read without their code; other files are refused."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import released
import torch
from commands import SAME_BENCH
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from places import ROOT
from safetensors.torch import load_file

from bench.core.errors import InputError
from bench.models.wise_ft_checkpoints import ReleasedClassifier, check_fits, read_classifier

SAVES = {
    "protocol-3": released.pickled(3),
    "protocol-4": released.pickled(4),
    "zip": released.zipped,
}


@pytest.fixture(params=SAVES)
def save(request: pytest.FixtureRequest) -> released.Save:
    return SAVES[request.param]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "checkpoint_10.pt"


def clip_model(side: int = 32, patch: int = 8, **wanted: Any) -> open_clip.CLIP:
    """open_clip's model with the sizes of `released.tower` and QuickGELU."""
    vision = {"width": 64, "layers": 2} | wanted
    return open_clip.CLIP(
        released.DIMENSION,
        CLIPVisionCfg(image_size=side, patch_size=patch, **vision),
        CLIPTextCfg(context_length=7, vocab_size=10, width=8, heads=1, layers=1),
        quick_gelu=True,
    )


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_classifier(path)
    message = str(caught.value)
    assert message.startswith(f"checkpoint {path}") and "\n" not in message
    return message.removeprefix(f"checkpoint {path}")


def test_a_classifier_comes_back_whole(save: released.Save, path: Path) -> None:
    made = released.classifier(released.tower())
    save(made, path)
    read = read_classifier(path)
    clip = made.image_encoder.model
    text = {n: t for n, t in clip.state_dict().items() if not n.startswith("visual.")}
    for found, expected in ((read.encoder, clip.visual.state_dict()), (read.text, text)):
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[n], expected[n]) for n in found)
    assert torch.equal(read.head_weight, made.classification_head.weight)
    assert torch.equal(read.head_bias, made.classification_head.bias)
    assert read.head_weight.is_contiguous()
    assert read.normalize is True
    assert read.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_open_clip_tower_takes_it(path: Path) -> None:
    visual = released.tower()
    released.pickled(3)(released.classifier(visual), path)
    read = read_classifier(path)
    tower = clip_model().visual
    check_fits(read, tower.state_dict())
    tower.load_state_dict(read.encoder)
    assert torch.equal(tower.proj, visual.proj)


@pytest.mark.parametrize("name", ["ViT-B-32", "ViT-B-16", "ViT-L-14-336"])
def test_real_towers_have_the_same_names(name: str) -> None:
    """Compare shapes only, on the meta device."""
    config = open_clip.get_model_config(name)
    vision, dimension = config["vision_cfg"], config["embed_dim"]
    sizes = (vision[k] for k in ("image_size", "patch_size", "width", "layers"))
    with torch.device("meta"):
        ours = released.tower(*sizes, dimension=dimension).state_dict()
        tower = open_clip.CLIP(dimension, vision, config["text_cfg"]).visual.state_dict()
        head = torch.zeros(3, dimension)
    check_fits(ReleasedClassifier(ours, {}, head, head[:, 0], True, ""), tower)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: clip_model(layers=1), "has 'transformer.resblocks.1.*which the model lacks"),
        (lambda: clip_model(layers=3), "no transformer.resblocks.2.*which the model has"),
        (lambda: clip_model(patch=16), r"positional_embedding is \(17, 64\), .* \(5, 64\)"),
        (lambda: clip_model(width=128), r"class_embedding is \(64,\), the model's is \(128,\)"),
        (lambda: clip_model(layers=(1, 1, 1, 1)), "conv1.weight is"),
    ],
)
def test_another_tower_is_refused(
    model: Callable[[], open_clip.CLIP], message: str, path: Path
) -> None:
    released.pickled(3)(released.classifier(released.tower()), path)
    with torch.device("meta"):
        tower = model().visual.state_dict()
    with pytest.raises(InputError, match=message + ".*; give the --model it was made with"):
        check_fits(read_classifier(path), tower)


def test_half_precision_is_widened(save: released.Save, path: Path) -> None:
    made = released.classifier(released.tower()).half()
    save(made, path)
    read = read_classifier(path)
    assert {t.dtype for t in (*read.encoder.values(), read.head_weight)} == {torch.float32}
    assert torch.equal(read.encoder["proj"], made.image_encoder.model.visual.proj.float())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_named(
    value: float, save: released.Save, path: Path
) -> None:
    made = released.classifier(released.tower())
    made.image_encoder.model.visual.proj.data[0, 0] = value
    save(made, path)
    assert "image_encoder.model.visual.proj has values that are not finite" in refusal(path)


def test_the_doors_are_those_of_other_checkpoints(path: Path) -> None:
    made = released.classifier(released.tower())
    encoder = made.image_encoder
    wrapped = torch.nn.Sequential()
    wrapped.add_module("module", encoder.model)
    encoder.model = wrapped
    released.pickled(4)(made, path)
    assert "visual.proj" not in read_classifier(path).encoder
    assert "proj" in read_classifier(path).encoder
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert "git lfs pull" in refusal(path)


class Payload:
    """Creates a file when it is unpickled with the pickle module."""

    def __init__(self, target: Path, function: Callable[..., object] = os.system) -> None:
        self.reduced = (function, (f"touch {target}",))

    def __reduce__(self) -> Any:
        return self.reduced


class Nested:
    """A payload inside a storage, which torch's own function would unpickle."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        stream = io.BytesIO()
        torch.save(Payload(self.target), stream, _use_new_zipfile_serialization=False)
        return torch.storage._load_from_bytes, (stream.getvalue(),)


def laden(place: str, target: Path) -> object:
    """Return an object to pickle with a payload at one place."""
    made = released.classifier(released.tower())
    if place == "transform":
        made.image_encoder.val_preprocess = Payload(target)
    elif place == "parameter":
        made.classification_head._parameters["weight"] = Payload(target)
    elif place == "storage":
        made.classification_head._parameters["weight"] = Nested(target)
    else:
        return Payload(target, exec) if place == "builtin" else Payload(target)
    return made


@pytest.mark.parametrize("place", ["root", "builtin", "transform", "parameter", "storage"])
def test_nothing_is_executed(place: str, save: released.Save, path: Path, tmp_path: Path) -> None:
    target = tmp_path / "executed"
    save(laden(place, target), path)
    message = refusal(path)
    called = ("exec", f"{os.system.__module__}.system", "_codecs.encode")
    assert any(f"{name}'" in message for name in called)
    assert "no released classifier contains" in message
    assert not target.exists()


def test_the_payload_would_work(path: Path, tmp_path: Path) -> None:
    """Verify that the payloads work; otherwise the test above would be meaningless."""
    path.write_bytes(pickle.dumps(laden("root", tmp_path / "executed")))
    pickle.loads(path.read_bytes())
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "name",
    [
        "collections OrderedDict",
        "builtins set",
        "torch FloatStorage",
        "torch.storage _load_from_bytes",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "src.models.modeling ImageClassifier",
    ],
)
def test_a_pickle_alters_nothing_that_stays(name: str, path: Path) -> None:
    """The opcode BUILD with two states sets attributes of the named object."""
    spoilt = b"c" + name.replace(" ", "\n").encode() + b"\n(N}X\x04\0\0\0pathX\x01\0\0\0xstb."
    path.write_bytes(b"\x80\x03" + spoilt)
    refusal(path)
    released.pickled(3)(released.classifier(released.tower()), path)
    read_classifier(path)


@pytest.mark.parametrize(
    "name", ["clip.clip\nload", "torch.nn.modules.\x1b[31m\nLinear", "os\nopen"]
)
def test_only_what_a_classifier_holds_is_admitted(name: str, path: Path) -> None:
    path.write_bytes(f"\x80\x03c{name}\n.".encode("latin-1"))
    message = refusal(path)
    assert "no released classifier contains" in message
    assert message.isprintable()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the file of a very small classifier in every format."""
    small = released.tower(side=4, patch=4, width=4, layers=1, dimension=3)
    path = tmp_path_factory.mktemp("whole") / "small.pt"
    files = {}
    for name, save in SAVES.items():
        save(released.classifier(small, 3), path)
        read_classifier(path)
        files[name] = path.read_bytes()
    return files


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_cut_file(
    tmp_path_factory: pytest.TempPathFactory, whole: dict[str, bytes], data: st.DataObject
) -> None:
    content = whole[data.draw(st.sampled_from(sorted(whole)))]
    path = tmp_path_factory.getbasetemp() / "cut.pt"
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    message = refusal(path)
    assert message.startswith(" is truncated, damaged or not a checkpoint")
    assert message.endswith(": download it again")


def without(*names: str) -> object:
    """Return a classifier without the parameter or module at a dotted path."""
    made = released.classifier(released.tower())
    *parents, last = names
    module = made.get_submodule(".".join(parents))
    delattr(module, last)
    return made


def with_head(**attributes: object) -> object:
    made = released.classifier(released.tower())
    for name, value in attributes.items():
        is_tensor = isinstance(value, torch.Tensor)
        setattr(made.classification_head, name, torch.nn.Parameter(value) if is_tensor else value)
    return made


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: released.classifier(released.tower()).state_dict(),
            "contains OrderedDict, expected",
        ),
        (lambda: {"lr": 0.1}, "contains dict, expected src.models.modeling.ImageClassifier"),
        (
            lambda: released.classifier(released.tower()).image_encoder,
            "contains src.models.modeling.ImageEncoder, expected",
        ),
        (lambda: without("image_encoder"), "has no image_encoder.model.visual"),
        (lambda: without("image_encoder", "model", "visual"), "has no image_encoder.model.visual"),
        (lambda: without("classification_head"), "has no classification_head.weight"),
        (lambda: without("classification_head", "bias"), "has no classification_head.bias"),
        (
            lambda: without("classification_head", "normalize"),
            "classification_head has no boolean attribute 'normalize'",
        ),
        (
            lambda: with_head(normalize=1),
            "classification_head has no boolean attribute 'normalize'",
        ),
        (lambda: with_head(weight=torch.zeros(3)), r"has weight (3,) and bias (5,)"),
        (lambda: with_head(bias=torch.zeros(4)), r"has weight (5, 16) and bias (4,)"),
        (
            lambda: with_head(weight=torch.zeros(5, 9)),
            "visual.proj (64, 16) does not match the head's (5, 9)",
        ),
    ],
)
def test_something_else(
    make: Callable[[], object], message: str, save: released.Save, path: Path
) -> None:
    save(make(), path)
    assert message in refusal(path)


def test_files_that_are_no_checkpoints(path: Path, tmp_path: Path) -> None:
    assert refusal(path) == ": No such file or directory"
    assert "directory" in refusal(tmp_path)
    path.write_bytes(b"\n<!DOCTYPE html><html>Google Drive</html>")
    reason = " is a web page, not a checkpoint: the download failed, try it again"
    assert refusal(path) == reason
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("other.txt", "x")
    assert refusal(path) == " is truncated, damaged or not a checkpoint: download it again"


def test_a_tensor_stays_inside_its_storage(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = released.classifier(released.tower())

    class Wide:
        def __reduce__(self) -> Any:
            function, (storage, offset, _, stride, *rest) = torch.zeros(4).__reduce_ex__(3)
            return function, (storage, offset, (500,), stride, *rest)

    made.classification_head._parameters["bias"] = Wide()
    released.pickled(3)(made, path)
    assert refusal(path) == " is truncated, damaged or not a checkpoint: download it again"


OFFICIAL = Path(os.environ.get("BENCH_OFFICIAL", "official")) / "wise-ft"


@pytest.mark.skipif(not OFFICIAL.is_dir(), reason=f"needs {OFFICIAL} (or $BENCH_OFFICIAL)")
def test_what_the_official_code_saves(tmp_path: Path) -> None:
    """The tensors read and open_clip's tower give the logits of the official classes."""
    script = ROOT / "scripts" / "assets" / "make_release_like_checkpoint.py"
    command = [sys.executable, str(script), "--official", str(OFFICIAL), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=SAME_BENCH)
    assert done.returncode == 0, done.stderr
    expected = load_file(tmp_path / "expected.safetensors")
    for name in ("zeroshot", "checkpoint_1"):
        read = read_classifier(tmp_path / f"{name}.pt")
        tower = clip_model().visual.eval()
        check_fits(read, tower.state_dict())
        tower.load_state_dict(read.encoder)
        with torch.inference_mode():
            features = torch.nn.functional.normalize(tower(expected["images"]), dim=-1)
        logits = features @ read.head_weight.T + read.head_bias
        torch.testing.assert_close(logits, expected[name], rtol=1e-4, atol=1e-4)
        assert read.normalize
        assert sorted(read.text) == [
            "ln_final.bias", "ln_final.weight", "logit_scale", "positional_embedding",
            "text_projection", "token_embedding.weight",
        ]  # fmt: skip
    assert not torch.equal(expected["zeroshot"], expected["checkpoint_1"])
