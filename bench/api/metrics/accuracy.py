"""Metrics of right and wrong: accuracy over samples, classes, groups and sets of frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.api.metrics.labels import correct
from bench.api.metrics.metric import LogProbs
from bench.api.splits import Manifest
from bench.core.errors import InputError


def top1(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the accuracy in [0, 1]: the fraction of samples whose top-1 class is acceptable.

    Ties go to the lowest class.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import top1
    >>> from bench.api.splits import single_label
    >>> top1(np.log([[0.9, 0.1]] * 4), single_label("abcd", [0, 0, 0, 1]))
    0.75
    """
    return float(correct(log_probs, manifest).mean())


def macro_f1(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the mean over classes of F1 = 2 TP / (2 TP + FP + FN), in [0, 1].

    The mean is over the classes that occur as labels. Classes that are only predicted are not part
    of it, as in WILDS (Koh et al., ICML 2021) for iWildCam. Raises InputError if a sample has
    several labels or none.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import macro_f1, top1
    >>> from bench.api.splits import single_label
    >>> always_0, manifest = np.log([[0.9, 0.1]] * 4), single_label("abcd", [0, 0, 0, 1])
    >>> round(macro_f1(always_0, manifest), 2), top1(always_0, manifest)
    (0.43, 0.75)
    """
    _one_label_each("macro-F1", manifest)
    labels, predictions = manifest.first, log_probs.argmax(axis=1)
    true_positives, labelled, predicted = (
        np.bincount(classes, minlength=log_probs.shape[1])
        for classes in (labels[labels == predictions], labels, predictions)
    )
    occurs = labelled > 0
    return float((2 * true_positives[occurs] / (labelled + predicted)[occurs]).mean())


def balanced_accuracy(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the mean over classes of the accuracy on the samples of a class, in [0, 1].

    The mean is over the classes that occur as labels (Brodersen et al., The Balanced Accuracy and
    Its Posterior Distribution, ICPR 2010, for more than two classes). Raises InputError if a sample
    has several labels or none.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import balanced_accuracy
    >>> from bench.api.splits import single_label
    >>> balanced_accuracy(np.log([[0.9, 0.1]] * 4), single_label("abcd", [0, 0, 0, 1]))
    0.5
    """
    return float(_accuracy_by_class("balanced accuracy", log_probs, manifest).mean())


def worst_class(log_probs: LogProbs, manifest: Manifest) -> float:
    """Return the accuracy of the class with the lowest accuracy, in [0, 1].

    Only classes that occur as labels count: it is the accuracy of the worst group (Sagawa et al.,
    Distributionally Robust Neural Networks for Group Shifts, ICLR 2020) with classes as groups.
    Raises InputError if a sample has several labels or none.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import worst_class
    >>> from bench.api.splits import single_label
    >>> worst_class(np.log([[0.9, 0.1]] * 4), single_label("abcd", [0, 0, 0, 1]))
    0.0
    """
    return float(_accuracy_by_class("worst class", log_probs, manifest).min())


def _accuracy_by_class(
    metric: str, log_probs: LogProbs, manifest: Manifest
) -> NDArray[np.floating]:
    """Return the accuracy of each class that occurs as a label, in the order of classes."""
    _one_label_each(metric, manifest)
    _, members = np.unique(manifest.first, return_inverse=True)
    hits = np.bincount(members, weights=correct(log_probs, manifest))
    return np.asarray(hits / np.bincount(members))


def _one_label_each(metric: str, manifest: Manifest) -> None:
    """Raise InputError if a sample has several labels or none."""
    if manifest.labels.shape[1] > 1 or (manifest.first < 0).any():
        raise InputError(f"{metric}: a sample has several labels or none, expected one each")


def worst_group(
    log_probs: LogProbs, manifest: Manifest, *, group: str, skip: Sequence[str] = ()
) -> float:
    """Return the accuracy of the group with the lowest accuracy, in [0, 1].

    Parameters
    ----------
    group : the name of a grouping in the manifest, such as ``region``. Groups without samples are
        ignored.
    skip : names of groups to leave out, such as FMoW's region Other (WILDS, Koh et al., ICML 2021).

    Raises InputError if the manifest has no such grouping, if `skip` is given and the groups have
    no names, or if no sample is left.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import worst_group
    >>> from bench.api.splits import Manifest
    >>> regions = {"region": np.array([0, 0, 1, 1])}
    >>> manifest = Manifest(tuple("abcd"), np.array([[0], [0], [0], [1]]), regions)
    >>> worst_group(np.log([[0.9, 0.1]] * 4), manifest, group="region")
    0.5
    """
    codes = manifest.group(group)
    if skip and group not in manifest.names:
        raise InputError(
            f"group {group} has no names, which are needed to leave out {', '.join(skip)}"
        )
    skipped = [code for code, name in enumerate(manifest.names.get(group, ())) if name in skip]
    is_kept = ~np.isin(codes, skipped)
    if not is_kept.any():
        raise InputError(
            f"group {group}: every sample is in {', '.join(skip)}, which is left out, expected "
            "samples in other groups"
        )
    _, members = np.unique(codes[is_kept], return_inverse=True)
    n_correct = np.bincount(members, weights=correct(log_probs, manifest)[is_kept])
    return float((n_correct / np.bincount(members)).min())


def pm(log_probs: LogProbs, manifest: Manifest, *, k: int) -> float:
    """Return the pm-k accuracy of video frames, in [0, 1] (Shankar et al., ICCV 2021).

    The fraction of anchor frames that are classified correctly together with all their neighbours
    at most `k` frames away; k = 0 is the accuracy on the anchors. Each frame is compared with its
    own labels. `bench.api.splits.Manifest` defines the groups ``anchor`` and ``offset``, which
    describe the sets of frames. A set whose anchor is not among the samples of a limited split is
    ignored. Raises InputError if a set has several anchors, or if there is no anchor at all.

    Examples
    --------
    >>> import numpy as np
    >>> from bench.api.metrics import pm
    >>> from bench.api.splits import Manifest
    >>> frames = {"anchor": np.array([0, 0, 1, 1]), "offset": np.array([0, 1, 0, 1])}
    >>> manifest = Manifest(tuple("abcd"), np.array([[0], [0], [0], [1]]), frames)
    >>> [pm(np.log([[0.9, 0.1]] * 4), manifest, k=k) for k in (0, 10)]  # one neighbour is wrong
    [1.0, 0.5]
    """
    anchors, offsets = manifest.group("anchor"), manifest.group("offset")
    codes, members = np.unique(anchors, return_inverse=True)
    found = np.bincount(members[offsets == 0], minlength=len(codes))
    if found.max() != 1:
        raise InputError(f"pm-{k}: a set of frames has {found.max()} anchors, expected one")
    is_miss = (np.abs(offsets) <= k) & ~correct(log_probs, manifest)
    misses = np.bincount(members[is_miss], minlength=len(codes))
    return float((misses[found == 1] == 0).mean())
