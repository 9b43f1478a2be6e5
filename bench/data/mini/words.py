"""A word tokenizer for any text: known words have their own ids, other words are hashed."""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CONTEXT = 16  # tokens per text, including the end token; longer texts lose their last words
BUCKETS = 64  # ids shared by all unknown words

COLOURS = (
    "red", "orange", "yellow", "green", "teal", "blue",
    "purple", "pink", "brown", "black", "white", "grey",
)  # fmt: skip
SCENES = ("sky", "sea", "grass", "sand", "snow", "night", "bricks", "wood")
STYLES = {
    "photo": ("photo", "photograph", "picture", "snapshot"),
    "sketch": ("sketch", "drawing", "doodle", "outline"),
    "art": ("painting", "cartoon", "sticker", "artwork"),
}
FILLERS = ("a", "an", "the", "of", "on", "in", "with", "this", "is", "it", "image", "one",
           "small", "large", "good", "bad", "bright", "dark", "my", "object", "thing", "something",
           "rendition", "origami", "toy", "mosaic", "blurry", "cropped", "close", "up")  # fmt: skip
OBJECTS = (
    "star", "heart", "arrow", "house", "tree", "fish", "cup", "key", "moon", "car", "umbrella",
    "flower", "mushroom", "bell", "boat", "bird", "hammer", "lamp", "hat", "bottle",
    "cross", "ring", "ladder", "cloud", "flag", "crown", "apple", "rocket", "butterfly", "clock",
    "chair", "sword",
)  # fmt: skip
KNOWN = (*OBJECTS, *COLOURS, *SCENES, *(w for words in STYLES.values() for w in words), *FILLERS)

PAD = 0
_IDS = {word: 1 + i for i, word in enumerate(KNOWN)}
END = 1 + len(KNOWN) + BUCKETS  # the highest id, because open_clip pools the text at its argmax
VOCABULARY = END + 1
_WORD = re.compile(r"\w+")


def word_id(word: str) -> int:
    """Return the id of a lower-case word in 1 .. END-1; CRC-32 is stable across processes."""
    known = _IDS.get(word)
    if known is not None:
        return known
    return 1 + len(KNOWN) + zlib.crc32(word.encode("utf-8", "surrogatepass")) % BUCKETS


def encode(text: str, context: int = CONTEXT) -> list[int]:
    """Return `context` ids for any string: those of its words, the end token and padding."""
    ids = [word_id(word) for word in _WORD.findall(text.lower())[: context - 1]] + [END]
    return ids + [PAD] * (context - len(ids))


class WordTokenizer:
    """A tokenizer without state that is called like those of open_clip."""

    context_length = CONTEXT
    vocab_size = VOCABULARY

    def __call__(self, texts: str | list[str], context_length: int = CONTEXT) -> torch.LongTensor:
        """Return token ids, LongTensor [n, context_length]; a single text is a list of one."""
        import torch

        batch = [texts] if isinstance(texts, str) else texts
        ids = torch.tensor([encode(text, context_length) for text in batch], dtype=torch.int64)
        return torch.LongTensor(ids.reshape(len(batch), context_length))
