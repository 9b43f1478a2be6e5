"""The sets of the job, and models smaller than released ones."""

from __future__ import annotations

TEXT = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1}
OWN: dict[str, dict[str, object]] = {
    "official-small": {
        "embed_dim": 32,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 64, "layers": 2},
        "text_cfg": TEXT,
    },
    "official-s32": {
        "embed_dim": 384,
        "quick_gelu": True,
        "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 384, "layers": 12},
        "text_cfg": TEXT,
    },
}
"""Models that open_clip does not have: one for tests, and a ViT-S/32."""
SIZES = {
    "train": 1_281_167,
    "val": 50_000,
    "v2": 10_000,
    "sketch": 50_889,
    "a": 7_500,
    "r": 30_000,
    "objectnet": 18_574,
}
"""The true numbers of images."""
PLACES = {
    "train": ("imagenet/train", "JPEG"),
    "val": ("imagenet/val", "JPEG"),
    "v2": ("ImageNetV2-matched-frequency", "jpeg"),
    "sketch": ("sketch", "JPEG"),
    "a": ("imagenet-a", "jpg"),
    "r": ("imagenet-r", "jpg"),
    "objectnet": ("objectnet-1.0/images", "png"),
}
"""{set: (folder, ending of its files)}."""


def sizes(images: int) -> dict[str, int]:
    """Return the numbers of images if the training set has `images`."""
    return {name: max(1, round(n * images / SIZES["train"])) for name, n in SIZES.items()}
