"""Features of some images, forwarded again by the engine of a run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.api.recipes import Encoder
from bench.api.splits import Split

if TYPE_CHECKING:
    from bench.runs.engine import Engine

Rows = NDArray[np.int64]


def forward_again(
    engine: Engine, split: Split, rows: Rows, encoders: Sequence[Encoder]
) -> list[NDArray[np.float32]]:
    """Return the features of some `rows` of a split, float32 [rows, D], for each encoder.

    Nothing is stored. Raises DataError for an image that cannot be read.
    """
    from bench.models.features import Forward, forward_rows
    from bench.models.transforms import evaluation_transform
    from bench.models.weights import encoder_state

    return forward_rows(
        engine.opened(split).images,
        evaluation_transform(engine.clip.preprocess),
        engine.tower,
        [partial(encoder_state, encoder, engine.held.state_of) for encoder in encoders],
        rows.tolist(),
        Forward(engine.where, engine.hardware, engine.precision, engine.batch_size, workers=0),
    )
