"""Write small checkpoints with WiSE-FT's own classes, in the structure of the released ones.

    git clone https://github.com/mlfoundations/wise-ft
    python scripts/assets/make_release_like_checkpoint.py --official wise-ft OUT

OUT/zeroshot.pt has what ``src/wise_ft.py`` saves before training, OUT/checkpoint_1.pt the same
after one step of AdamW. OUT/expected.safetensors has ``images`` [8, 3, 32, 32] and each
checkpoint's logits [8, 5] under its name. The official code is imported from the checkout, not
copied.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

IMAGE_SIZE, PATCH, WIDTH, LAYERS, DIMENSION = 32, 8, 64, 2, 16
CONTEXT, VOCABULARY, TEXT_WIDTH, TEXT_LAYERS = 7, 10, 64, 1
CLASSES, IMAGES = 5, 8


def encoder(modeling: Any, clip_model: Any) -> Any:
    """Return the official encoder around a random CLIP, read from a file by the official loader."""
    vision = (IMAGE_SIZE, LAYERS, WIDTH, PATCH)
    text = (CONTEXT, VOCABULARY, TEXT_WIDTH, TEXT_WIDTH // 64, TEXT_LAYERS)
    with TemporaryDirectory() as folder:
        weights = Path(folder) / "clip.pt"
        torch.save(clip_model.CLIP(DIMENSION, *vision, *text).state_dict(), weights)
        arguments = SimpleNamespace(model=str(weights), device="cpu", cache_dir=None)
        return modeling.ImageEncoder(arguments, keep_lang=True)


def zero_shot(modeling: Any, clip_model: Any) -> Any:
    """Build a classifier with a random head in the zero-shot head's layout, a transposed [D, C]."""
    image_encoder = encoder(modeling, clip_model)
    scale = image_encoder.model.logit_scale.detach().exp()
    weights = scale * normalize(torch.randn(DIMENSION, CLASSES), dim=0)
    head = modeling.ClassificationHead(normalize=True, weights=weights.T)
    del image_encoder.model.transformer
    return modeling.ImageClassifier(image_encoder, head, process_images=False)


def step(classifier: Any, images: Tensor) -> None:
    """Take one step of end-to-end fine-tuning."""
    classifier.process_images = True
    parameters = [p for p in classifier.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.1)
    loss = cross_entropy(classifier(images), torch.arange(len(images)) % CLASSES)
    torch.autograd.backward(loss)
    optimizer.step()


def logits(classifier: Any, images: Tensor) -> Tensor:
    """Return the classifier's logits [N, C]."""
    with torch.inference_mode():
        scores: Tensor = classifier.classification_head(classifier.image_encoder(images))
    return scores.clone()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--official", type=Path, required=True, help="checkout of wise-ft")
    parser.add_argument("out", type=Path, help="folder to write into")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.official))
    import clip.model as clip_model
    from src.models import modeling

    out: Path = arguments.out
    torch.manual_seed(0)
    images = torch.randn(IMAGES, 3, IMAGE_SIZE, IMAGE_SIZE)
    zero_shot(modeling, clip_model).save(str(out / "zeroshot.pt"))
    classifier = modeling.ImageClassifier.load(str(out / "zeroshot.pt"))
    expected = {"images": images, "zeroshot": logits(classifier, images)}
    step(classifier, images)
    classifier.save(str(out / "checkpoint_1.pt"))
    expected["checkpoint_1"] = logits(classifier, images)
    save_file(expected, out / "expected.safetensors")


if __name__ == "__main__":
    main()
