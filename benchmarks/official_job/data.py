"""Write the data, the classifiers and the backbone of the job into a folder.

    python data.py WISE_FT VRF FOLDER IMAGES MODEL

FOLDER/data has ImageNet's training set with IMAGES images, its validation set and five shifts in
proportion, in the true layouts and formats. The images are noise: photographs' sizes cost what
photographs cost. FOLDER/clip.safetensors is a CLIP with random weights, FOLDER/zeroshot.pt and
FOLDER/finetuned.pt are classifiers of wise-ft's own classes around it: the second is the first with
noise added to its weights. Each image is in the folder of a class that one of the two predicts, or
of another class, so that accuracies are far from 0 and from 1 and both classifiers differ.

A random text tower says nothing of classes and would have to read 80,000 prompts. So the zero-shot
head has images' features as rows, and FOLDER/seed has it as the head of the backbone, where bench
looks before it computes one. Neither side computes a head.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save, save_file
from torch import Tensor, nn
from torch.nn.functional import normalize

from bench.api.recipe_parts import weights_key
from bench.api.recipes import TextHead
from bench.core.store import Store
from bench.data.suites.imagenet import (
    OBJECTNET_FILES,
    imagenet_classes,
    imagenet_subset,
    objectnet_classes,
    openai_templates,
)
from bench.models.clip import identify_backbone
from official_job.sizes import OWN, PLACES, sizes

STORED = {
    **{split: ("imagenet", split) for split in ("train", "val")},
    **{name: (f"imagenet-{name}", "test") for name in ("v2", "sketch", "a", "r")},
    "objectnet": ("objectnet", "test"),
}
"""{set: (bench's name, split)}."""
NOISE = 0.3
"""The noise of fine-tuning, in standard deviations of each tensor."""
SPREAD = 3.0
"""The standard deviation of an image's logits."""

Classes = Mapping[str, Sequence[int]]
"""{class folder: ImageNet's classes}, in the order of class indices."""


def know_own() -> None:
    """Let open_clip and bench know the models `OWN`, and bench no others."""
    from bench.models import clip

    with tempfile.TemporaryDirectory() as folder:
        for name, config in OWN.items():
            Path(folder, f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(Path(folder))
    clip.model_names = lambda: tuple(OWN)  # type: ignore[assignment]


def random_classifier(model: str, folder: Path) -> Any:
    """Return wise-ft's classifier around a random CLIP, with a head of zeros; write the CLIP."""
    import clip.model as official  # type: ignore[import-not-found]
    from src.models import modeling  # type: ignore[import-not-found]

    config = open_clip.get_model_config(model)
    vision, text = config["vision_cfg"], config["text_cfg"]
    clip = official.CLIP(
        *(config["embed_dim"], vision["image_size"], vision["layers"], vision["width"]),
        *(vision["patch_size"], text["context_length"], text["vocab_size"]),
        *(text["width"], text["heads"], text["layers"]),
    )
    save_file(
        {n: t.contiguous() for n, t in clip.state_dict().items()}, folder / "clip.safetensors"
    )

    def load(*_: object, **__: object) -> Any:
        transforms = (official_clip._transform(vision["image_size"], train) for train in (1, 0))
        return clip, *transforms

    import clip.clip as official_clip  # type: ignore[import-not-found]

    official_clip.load = load
    arguments = type("Arguments", (), {"model": model, "device": "cpu", "cache_dir": None})()
    encoder = modeling.ImageEncoder(arguments)
    head = modeling.ClassificationHead(True, torch.zeros(1000, config["embed_dim"]))
    return modeling.ImageClassifier(encoder, head).eval()


def pictures(count: int, size: tuple[int, int]) -> Iterator[Image.Image]:
    """Yield different images."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        yield Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def features(tower: nn.Module, pixels: Tensor) -> Tensor:
    """Return normalised features [N, D], about as precise as bfloat16: labels need no more."""
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = torch.cat([tower(part).float() for part in pixels.split(128)])
    return normalize(found, dim=1)


def disturbed(classifier: Any) -> Any:
    """Add noise to all weights: what stands for fine-tuning."""
    with torch.no_grad():
        for name, tensor in classifier.named_parameters():
            if tensor.numel() > 1 and not name.startswith("classification_head.bias"):
                tensor.add_(torch.randn_like(tensor) * tensor.std() * NOISE)
    return classifier


def class_folders(data: Path) -> dict[str, Classes]:
    """Return the class folders of each set."""
    wnids = imagenet_classes().keys
    every = {wnid: (i,) for i, wnid in enumerate(wnids)}
    few = {name: {wnids[i]: (i,) for i in imagenet_subset(name)} for name in ("a", "r")}
    numbers = {str(i): (i,) for i in range(len(wnids))}
    objectnet = objectnet_classes(data / "objectnet-1.0/mappings")
    return {"train": every, "val": every, "sketch": every, "v2": numbers, **few,
            "objectnet": objectnet}  # fmt: skip


def labels_of(logits: Sequence[NDArray[np.float32]], classes: Classes) -> list[str]:
    """Return the class folder of each image: of 5 in turn, 2 as the first of `logits`, 2 as the
    second predicts, and 1 of any class."""
    rng, names = np.random.default_rng(1), list(classes)
    predicted = [
        np.stack([part[:, list(members)].max(1) for members in classes.values()], 1).argmax(1)
        for part in logits
    ]
    found = []
    for i in range(len(logits[0])):
        other = int(rng.integers(len(names)))
        found.append(
            names[int((*(p[i] for p in predicted), *(p[i] for p in predicted), other)[i % 5])]
        )
    return found


def write(data: Path, name: str, images: Sequence[Image.Image], labels: Sequence[str],
          folders: Classes) -> None:  # fmt: skip
    """Write a set; class folders are there without images too."""
    place, ending = PLACES[name]
    for folder in folders:
        (data / place / folder).mkdir(parents=True, exist_ok=True)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = data / place / label / f"{name}_{i:08d}.{ending}"
        if ending == "png":
            image.save(path)
        else:
            image.save(path, "JPEG", quality=90)


def main() -> None:
    wise_ft, vrf, folder = (Path(text) for text in sys.argv[1:4])
    images, model = int(sys.argv[4]), sys.argv[5]
    sys.path.insert(0, str(wise_ft))
    if model in OWN:
        know_own()
    torch.manual_seed(0)
    data = folder / "data"
    mappings = data / "objectnet-1.0/mappings"
    mappings.mkdir(parents=True)
    for file in OBJECTNET_FILES:
        shutil.copy(vrf / "src/datasets/objectnet_metadata" / file, mappings)
    (data / "objectnet-1.0/objectnet-1.0_1").symlink_to(".")
    classifier, counts = random_classifier(model, folder), sizes(images)
    tower, head = classifier.image_encoder.model.visual, classifier.classification_head
    photographs = classifier.image_encoder.model.visual.input_resolution >= 224
    made = list(pictures(sum(counts.values()), (500, 375) if photographs else (48, 36)))
    pixels = torch.stack([classifier.val_preprocess(image) for image in made])
    found = [features(tower, pixels)]
    centre = normalize(found[0].mean(0), dim=0)
    rows = found[0][torch.arange(1000) % len(made)]
    rows = normalize(rows - (rows @ centre)[:, None] * centre, dim=1)
    rows = rows * (SPREAD / (found[0] @ rows.T).std(1).mean())
    with torch.no_grad():
        head.weight.copy_(rows)
    classifier.process_images = False
    classifier.save(str(folder / "zeroshot.pt"))
    classifier.process_images = True
    found.append(features(disturbed(classifier).image_encoder.model.visual, pixels))
    # Noise moves all features alike; without this the second would predict one class alone.
    moved = normalize(found[1].mean(0), dim=0)
    with torch.no_grad():
        head.weight.sub_((head.weight @ moved)[:, None] * moved)
    classifier.save(str(folder / "finetuned.pt"))
    logits = [(f @ w.T).detach().numpy() for f, w in zip(found, (rows, head.weight), strict=True)]
    start = 0
    for name, classes in class_folders(data).items():
        own = slice(start, start + counts[name])
        start = own.stop
        write(data, name, made[own], labels_of([part[own] for part in logits], classes), classes)
    noted: dict[str, dict[str, int]] = {}
    for name, (of, split) in STORED.items():
        noted.setdefault(of, {})[split] = counts[name]
    (data / "synthetic.json").write_text(json.dumps(noted))
    with tempfile.TemporaryDirectory() as elsewhere:
        backbone = identify_backbone(model, str(folder / "clip.safetensors"), Path(elsewhere))
    recipe = TextHead(backbone, imagenet_classes().prompts, openai_templates())
    tensors = {"head.weight": rows.contiguous(), "head.bias": torch.zeros(1000)}
    packed = save(tensors, metadata={"device": "cpu", "caveats": "[]"})
    Store(folder / "seed").write("weights", weights_key(recipe), packed)
    agree = float((logits[0].argmax(1) == logits[1].argmax(1)).mean())
    classes = [len(set(part.argmax(1))) for part in logits]
    print(f"{len(made)} images; the classifiers predict {classes} classes, {agree:.0%} alike")


if __name__ == "__main__":
    main()
