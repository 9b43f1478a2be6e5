"""`bench import` and `bench run --imported`, through the command line, with a tiny ViT.

A micro run fine-tunes the ViT. Its stored weights are pickled in the format of WiSE-FT's code.
Importing them must give the same leaderboard as the run that trained them.
"""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

import open_clip
import pytest
import released
import torch
from commands import Result, assert_refused, bench
from micro_table import NAME, print_table
from safetensors.torch import load_file, save_file

from bench.api.dataset import Task
from bench.api.recipe_parts import weights_key
from bench.api.recipes import Backbone, Classifier, Imported, Merged, Pretrained
from bench.api.splits import Split
from bench.core.records import Record, read_records
from bench.core.store import Store
from bench.models.sources import named
from bench.runs.import_checkpoints import misplaced_rows
from bench.runs.study.endpoints import leak_reason

MODEL = "bench-test-vit"
CONFIG = {
    "embed_dim": released.DIMENSION,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 1},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
}
METHODS = ("--methods", "wise-ft,fisher,ose,vrf", "--set", "fisher.samples=4")
RUN = ("run", "--suite", "micro", "--limit", 40, "--shifts", "v2,objectnet", *METHODS)


@dataclass(frozen=True)
class Pair:
    """A finished run and its classifiers as files; `backbone` are the options that name the ViT."""

    cache: Path
    out: Path
    zero_shot: Path
    tuned: Path
    backbone: tuple[object, ...]


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of the ViT, known to open_clip and to bench under `MODEL`."""
    folder = tmp_path_factory.mktemp("vit")
    with pytest.MonkeyPatch.context() as patch:
        for name, changes in ((MODEL, {}), (f"{MODEL}-gelu", {"quick_gelu": False})):
            (folder / f"{name}.json").write_text(json.dumps(CONFIG | changes))
        open_clip.add_model_config(folder)
        patch.setattr(named, "model_names", lambda: (MODEL, f"{MODEL}-gelu"))
        torch.manual_seed(0)
        state = open_clip.create_model(MODEL).state_dict()
        save_file({n: t.contiguous() for n, t in state.items()}, folder / "vit.safetensors")
        yield folder / "vit.safetensors"
    shutil.rmtree(folder)
    open_clip.factory._MODEL_CONFIG_PATHS.remove(folder)


def pickled(weights: dict[str, torch.Tensor], path: Path) -> None:
    """Pickle ``encoder.*`` and ``head.*`` as a released classifier."""
    made = released.classifier(released.tower(layers=1))
    tower = {n.removeprefix("encoder."): t for n, t in weights.items() if "encoder." in n}
    made.image_encoder.model.visual.load_state_dict(tower)
    made.classification_head = released.ClassificationHead(True, weights["head.weight"])
    made.classification_head.bias = torch.nn.Parameter(weights["head.bias"].clone())
    released.pickled(3)(made, path)


@pytest.fixture(scope="module")
def pair(vit: Path, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    folder = tmp_path_factory.mktemp("pair")
    backbone = ("--model", MODEL, "--pretrained", vit)
    found = Pair(
        folder / "cache", folder / "run", folder / "zeroshot.pt", folder / "ft.pt", backbone
    )
    result = bench(*RUN, *backbone, "--set", "e2e-ft.epochs=1", "--cache-dir", found.cache,
                   "--out", found.out)  # fmt: skip
    assert result.code == 0, result.err
    plan = json.loads((found.out / "plan.json").read_text())
    keys = {item["kind"]: item["key"] for item in plan if item["kind"] in ("train", "head")}
    store = Store(found.cache)
    tuned, head = (load_file(store.path("weights", keys[kind])) for kind in ("train", "head"))
    visual = {n.removeprefix("visual."): t for n, t in load_file(vit).items() if "visual." in n}
    pickled({f"encoder.{n}": t for n, t in visual.items()} | head, found.zero_shot)
    pickled(tuned, found.tuned)
    return found


def take(pair: Pair, cache: Path, *options: object, files: tuple[Path, ...] = ()) -> Result:
    """Import the pair, or other `files`."""
    files = files or (pair.zero_shot, pair.tuned)
    given = ("--name", "ours", "--suite", "micro", *pair.backbone, "--cache-dir", cache)
    return bench("import", "wise-ft", *files, *given, *options)


def numbers(records: list[Record]) -> dict[tuple[str, str, str, str], float]:
    return {(r.method, r.shift, r.metric, str(r.choice)): r.value for r in records}


def test_an_import_gives_the_numbers_of_the_run_that_trained_it(pair: Pair, tmp_path: Path) -> None:
    cache, out = tmp_path / "cache", tmp_path / "out"
    done = take(pair, cache, "--trained-on", "micro's train", "--selection-unseen")
    assert done.code == 0, done.err
    assert MODEL in done.out and "20 classes" in done.out
    again = bench(*RUN, "--imported", "ours", "--cache-dir", cache, "--out", out)
    assert again.code == 0, again.err
    found, trained = read_records(out / "records.jsonl"), read_records(pair.out / "records.jsonl")
    assert {r.method for r in found} == {"zero-shot", "e2e-ft", "wise-ft", "fisher", "ose", "vrf"}
    assert numbers(found) == numbers(trained)
    assert {r.seed for r in found} == {None}
    assert {r.model for r in found} != {r.model for r in trained}
    plan = json.loads((out / "plan.json").read_text())
    assert not [item for item in plan if item["kind"] in ("train", "head")]
    tuned = next(r for r in found if r.method == "e2e-ft" and r.kind == "cell")
    assert tuned.provenance["method"]["trained_on"] == "micro's train"
    assert str(pair.tuned.parent) not in (out / "records.jsonl").read_text()


def test_a_reproduction_evaluates_an_import_in_a_stage_of_its_own(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    print_table(monkeypatch, {"zero-shot": "60.5", "e2e-ft": "61.0", "wise-ft:e2e-ft": "62.0"})
    cache = tmp_path / "cache"
    command = ("reproduce", NAME, *pair.backbone, "--imported", "ours", "--until", "released")
    command = (*command, "--cache-dir", cache, "--out", tmp_path / "run")
    assert_refused(bench(*command), "--imported ours: nothing was imported yet")
    assert take(pair, cache).code == 0
    done = bench(*command)
    assert done.code == 0, done.err
    names = {path.name for path in tmp_path.glob("run*")}
    assert names == {"run-zero-shot", "run-zero-shot-clean", "run-released"}
    rows = {record.method for record in read_records(tmp_path / "run-released" / "records.jsonl")}
    assert rows == {"zero-shot", "e2e-ft", "wise-ft"}
    assert "released: the checkpoints ours, protocol official" in done.out
    # What has not seen the selection split may choose on it.
    assert take(pair, cache, "--selection-unseen").code == 0
    assert bench(*command).code == 0
    assert (tmp_path / "run-released-clean" / "records.jsonl").is_file()


def test_the_untouched_image_tower_is_shared(pair: Pair, tmp_path: Path) -> None:
    assert take(pair, tmp_path).code == 0
    made = json.loads((tmp_path / "imports" / "ours.json").read_text())
    assert made["shares_encoder"] is True
    assert made["zero_shot"]["file"] == "zeroshot.pt"
    other = tmp_path / "other.pt"
    weights = load_released(pair.zero_shot)
    weights["encoder.proj"] = weights["encoder.proj"] + 1e-6
    pickled(weights, other)
    assert take(pair, tmp_path, "--name", "moved", files=(other, pair.tuned)).code == 0
    made = json.loads((tmp_path / "imports" / "moved.json").read_text())
    assert made["shares_encoder"] is False


def load_released(path: Path) -> dict[str, torch.Tensor]:
    from bench.models.wise_ft_checkpoints import read_classifier

    found = read_classifier(path)
    encoder = {f"encoder.{n}": t for n, t in found.encoder.items()}
    return encoder | {"head.weight": found.head_weight, "head.bias": found.head_bias}


def test_clean_refuses_to_choose_where_the_checkpoint_may_have_trained(
    pair: Pair, tmp_path: Path
) -> None:
    assert take(pair, tmp_path, "--trained-on", "ImageNet train, whole").code == 0
    result = bench(*RUN, "--imported", "ours", "--cache-dir", tmp_path)
    words = ("clean", "micro/val", "ImageNet train, whole", "--protocol official")
    assert_refused(result, *words)
    options = ("--protocol", "official", "--out", tmp_path / "out")
    official = bench(*RUN, "--imported", "ours", "--cache-dir", tmp_path, *options)
    assert official.code == 0, official.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--imported", "our"], ["unknown import 'our'", "did you mean 'ours'?"]),
        (["--imported", "ours", "--set", "e2e-ft.lr=1"], ["--set e2e-ft", "trained elsewhere"]),
        (["--imported", "ours", "--suite", "mini", "--limit", "40"], ["mini/val", "may have seen"]),
        (["--imported", "ours", "--methods", "soup,fisher"], ["imported", "no other seeds"]),
        (["--imported", "ours", "--methods", "e2e-ft@1,fisher"], ["e2e-ft@1", "trained elsewhere"]),
        (["--imported", "ours", "--methods", "vrf+ls,fisher"], ["e2e-ft+ls", "trained elsewhere"]),
        (
            ["--imported", "ours", "--methods", "flyp,fisher"],
            ["imported", "text tower"],
        ),
        (["--imported", "ours", "--templates", "my.txt"], ["--templates", "ours", "is fixed"]),
        (["--imported", "ours", "--model", "tiny"], ["--imported ours was made with", MODEL]),
    ],
)
def test_runs_that_do_not_go_with_an_import(
    pair: Pair, options: list[str], words: list[str]
) -> None:
    if not (pair.cache / "imports").exists():
        assert take(pair, pair.cache, "--selection-unseen").code == 0
    result = bench(*RUN, *options, "--cache-dir", pair.cache)
    assert_refused(result, *words)


def test_other_trainings_start_from_the_imported_zero_shot_classifier(
    pair: Pair, tmp_path: Path
) -> None:
    """As in VRF's Table 1: a linear classifier and LP-FT in addition to the released checkpoint."""
    assert take(pair, tmp_path, "--selection-unseen").code == 0
    options = ("--methods", "linear,vrf:lp-ft,wise-ft:lp-ft,vrf,fisher", "--set", "lp-ft.epochs=1")
    result = bench(*RUN, "--imported", "ours", *options, "--cache-dir", tmp_path, "--out", tmp_path)
    assert result.code == 0, result.err
    found = {
        (r.method, r.base): r for r in read_records(tmp_path / "records.jsonl") if r.kind == "cell"
    }
    assert {("linear", None), ("vrf", "lp-ft"), ("wise-ft", "lp-ft"), ("vrf", "e2e-ft")} <= set(
        found
    )
    assert found["vrf", "e2e-ft"].seed is None and found["vrf", "lp-ft"].seed == 0
    trained = json.dumps(found["linear", None].provenance)
    assert "HeadTrainer" in trained


def test_weights_that_are_gone_are_asked_for(pair: Pair, tmp_path: Path) -> None:
    assert take(pair, tmp_path, "--selection-unseen").code == 0
    shutil.rmtree(tmp_path / "weights")
    result = bench(*RUN, "--imported", "ours", "--cache-dir", tmp_path)
    assert_refused(result, "import ours", "weights are gone", "bench import again")


def test_damaged_weights_are_asked_for(pair: Pair, tmp_path: Path) -> None:
    assert take(pair, tmp_path, "--selection-unseen").code == 0
    for path in (tmp_path / "weights").rglob("*.safetensors"):
        path.write_bytes(b"damaged")
    result = bench(*RUN, "--imported", "ours", "--cache-dir", tmp_path)
    assert result.code == 2
    assert "bench import again" in result.err.splitlines()[-1]


# Refused imports


def test_other_pairs_are_refused(pair: Pair, tmp_path: Path) -> None:
    def refused(*files: Path, words: tuple[str, ...]) -> None:
        assert_refused(take(pair, tmp_path / "cache", files=files), *words)
        assert not (tmp_path / "cache" / "imports").exists()

    zero_shot, tuned, other = pair.zero_shot, pair.tuned, tmp_path / "other.pt"
    refused(zero_shot, zero_shot, words=("the same file",))
    refused(tuned, zero_shot, words=("are the files swapped?",))
    refused(zero_shot, tmp_path / "no.pt", words=("no.pt", "No such file"))
    small = released.classifier(released.tower(layers=1))
    released.pickled(3)(small, other)
    refused(zero_shot, other, words=("other.pt has 5 classes", "micro has 20"))
    weights = load_released(tuned)
    released_raw(weights, other)
    refused(zero_shot, other, words=("only one head", "normalised features"))
    weights = load_released(zero_shot)
    rows = torch.roll(torch.arange(20), 1)
    pickled(weights | {"head.weight": weights["head.weight"][rows]}, other)
    refused(other, tuned, words=("row 0 of the zero-shot head", "nearest to class 19", "20 of 20"))
    for name in ("head.weight", "head.bias", "encoder.proj"):
        pickled(weights | {name: weights[name] * math.nan}, other)
        refused(other, tuned, words=("other.pt", name.split(".")[1], "not finite"))
    emptied = weights["head.weight"].clone()
    emptied[3:5] = 0
    pickled(weights | {"head.weight": emptied}, other)
    refused(other, tuned, words=("other.pt: 2 rows of the head are 0, such as row 3",))
    refused(zero_shot, other, words=("other.pt: 2 rows of the head are 0, such as row 3",))
    made = released.classifier(released.tower(layers=1))
    made.classification_head = released.ClassificationHead(True, weights["head.weight"])
    whole = (100 * weights["head.weight"]).long()
    made.classification_head.weight = torch.nn.Parameter(whole, requires_grad=False)
    released.pickled(3)(made, other)
    refused(zero_shot, other, words=("classification_head.weight has whole numbers",))


def released_raw(weights: dict[str, torch.Tensor], path: Path) -> None:
    made = released.classifier(released.tower(layers=1))
    made.classification_head = released.ClassificationHead(False, weights["head.weight"])
    released.pickled(3)(made, path)


def test_another_activation_is_refused(pair: Pair, tmp_path: Path) -> None:
    result = take(pair, tmp_path, "--model", f"{MODEL}-gelu")
    assert_refused(result, "QuickGELU", f"{MODEL}-gelu")


def test_another_tower_is_refused(pair: Pair, tmp_path: Path) -> None:
    result = take(pair, tmp_path, "--model", "tiny", "--pretrained", "embedded")
    assert_refused(result, "give the --model it was made with")


@pytest.mark.parametrize("name", ["all", "a/b", ""])
def test_bad_names_are_refused(pair: Pair, name: str, tmp_path: Path) -> None:
    assert_refused(take(pair, tmp_path, "--name", name), "--name: name")


def test_what_was_trained_on_is_not_left_blank(pair: Pair, tmp_path: Path) -> None:
    """A blank text would mean that nothing was trained on, so that nothing could leak."""
    assert_refused(take(pair, tmp_path, "--trained-on", ""), "--trained-on", "at least 1")


def test_a_name_is_not_taken_twice(pair: Pair, tmp_path: Path) -> None:
    assert take(pair, tmp_path).code == 0
    assert take(pair, tmp_path, "--trained-on", "described again").code == 0
    other = tmp_path / "other.pt"
    weights = load_released(pair.tuned)
    pickled(weights | {"head.bias": weights["head.bias"] + 1}, other)
    result = take(pair, tmp_path, files=(pair.zero_shot, other))
    assert_refused(result, "--name ours", "taken by other files")
    made = json.loads((tmp_path / "imports" / "ours.json").read_text())
    assert made["trained_on"] == "described again"


def test_a_tuned_head_in_another_order_is_warned_of(
    pair: Pair, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights = load_released(pair.tuned)
    rows = torch.roll(torch.arange(20), 1)
    pickled(weights | {"head.weight": weights["head.weight"][rows]}, tmp_path / "other.pt")
    assert take(pair, tmp_path, files=(pair.zero_shot, tmp_path / "other.pt")).code == 0
    assert "20 of 20 rows of the tuned head" in caplog.text


# The order of classes, and leaks


def test_classes_that_cannot_be_told_apart_are_no_disorder() -> None:
    own = torch.eye(4)[[0, 1, 2, 2]].numpy()
    assert misplaced_rows(own[[0, 1, 3, 2]], own) == []
    moved = torch.eye(4).numpy()
    split = moved.copy()
    split[3] = [0, 0, 0.6, 0.8]
    merged = moved[[0, 1, 2, 2]]
    assert misplaced_rows(merged, split) == []
    assert misplaced_rows(moved[[1, 0, 2, 3]], moved) == [(0, 1), (1, 0)]


def test_what_may_leak() -> None:
    def split(mark: str) -> Split:
        return Split(mark, mark, 1, lambda: None)  # type: ignore[arg-type, return-value]

    backbone = Backbone("ViT-B-32", "openai", "tag:openai")
    task = Task("t", ("a", "b"), ("{}",), split("train"), split("val"))
    zero_shot = Imported(backbone, "z", 2, True)
    start = Classifier(Pretrained(backbone), zero_shot)
    seen = Imported(backbone, "f", 2, True, "ImageNet train")
    assert leak_reason(start, task) is None
    assert "ImageNet train" in (leak_reason(seen, task) or "")
    assert "ImageNet train" in (leak_reason(Merged((start, seen), (0.5, 0.5)), task) or "")
    unseen = Imported(backbone, "f", 2, True, "ImageNet train", ("val",))
    assert leak_reason(unseen, task) is None
    assert weights_key(seen) == weights_key(unseen) != weights_key(zero_shot)
    assert not Store(Path("none")).has("weights", weights_key(seen))
