"""The two towers of models that have more than these."""

from __future__ import annotations

from typing import Any


def two_towers(model: Any) -> Any:
    """Return the image and the text tower of an open_clip model, without what else it has.

    CoCa also has a text decoder, which writes captions. Zero-shot and all trainings need the two
    towers alone, in the form of open_clip's ``CustomTextCLIP``: each returns an embedding and no
    tokens. Any other model is returned as it is.

    Examples
    --------
    >>> from bench.data.mini.model import load_tiny
    >>> from bench.models.sources.towers import two_towers
    >>> tiny = load_tiny()
    >>> two_towers(tiny) is tiny
    True
    """
    from open_clip.coca_model import CoCa
    from open_clip.model import CustomTextCLIP
    from torch import nn

    if not isinstance(model, CoCa):
        return model
    both = CustomTextCLIP.__new__(CustomTextCLIP)
    nn.Module.__init__(both)
    both.output_dict = False
    both.visual, both.text = model.visual, model.text
    both.visual.output_tokens = both.text.output_tokens = False
    both.context_length, both.vocab_size = model.text.context_length, model.text.vocab_size
    both.logit_scale, both.logit_bias = model.logit_scale, model.logit_bias
    return both.train(model.training)
