"""What scikit-learn asks of a classifier, without depending on it: parameters, one X, a score."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from bench.core.errors import InputError, unknown_name
from bench.posthoc.arrays import to_numpy
from bench.posthoc.remarks import collected
from bench.posthoc.scores import checked_logits, checked_matrix

F = TypeVar("F", bound=Callable[..., Any])


class Configurable:
    """Base of the estimators: dataclasses whose constructor arguments are their parameters.

    With it `sklearn.base.clone`, `sklearn.pipeline` and `sklearn.model_selection` work, with the X
    of `sample_table` where several arrays are needed. scikit-learn need not be installed.

    Attributes
    ----------
    classes_ : [C], the classes 0 to C - 1, in the order of the columns of `predict_proba`.

    Examples
    --------
    >>> from bench import OSE
    >>> OSE(alpha=0.3).get_params()
    {'alpha': 0.3, 'space': 'probabilities'}
    >>> OSE().set_params(space="logits")
    OSE(alpha=None, space='logits')
    """

    classes_: NDArray[np.int64]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments by name; `deep` changes nothing."""
        return {name: getattr(self, name) for name in self._names()}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments and return self. Raises InputError for an unknown name."""
        for name, value in params.items():
            if name not in self._names():
                raise unknown_name(f"parameter of {type(self).__name__}", name, self._names())
            setattr(self, name, value)
        return self

    def score(self, *inputs: Any) -> float:
        """Return the accuracy in [0, 1]: `inputs` are those of `predict`, then labels [N]."""
        *given, labels = inputs
        predicted, truth = to_numpy(predicted=cast(Any, self).predict(*given), labels=labels)
        return float((predicted == truth).mean())

    @classmethod
    def _names(cls) -> list[str]:
        return [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]

    def __sklearn_is_fitted__(self) -> bool:
        """Whether `fit` has set an attribute that ends in ``_``."""
        return any(name.endswith("_") and name[0] != "_" for name in vars(self))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags of a classifier; only scikit-learn calls this."""
        from sklearn.base import BaseEstimator
        from sklearn.utils import ClassifierTags

        tags = BaseEstimator().__sklearn_tags__()
        tags.estimator_type, tags.classifier_tags = "classifier", ClassifierTags()
        return tags


class NotFittedError(InputError, ValueError, AttributeError):
    """An estimator is used before `fit`; a ValueError and AttributeError as scikit-learn's.

    Examples
    --------
    >>> from bench import VRF
    >>> try:
    ...     VRF().weights([[1.0]])
    ... except ValueError as error:
    ...     print(error)
    ...
    this VRF is not fitted; call fit first
    """


COLUMNS = ("features_ft", "logits_zs", "logits_ft")
"""The arrays that a table of samples can hold, by the names of the estimators' arguments."""


def sample_table(**columns: Any) -> NDArray[np.void]:
    """Return one array X of shape [N] for scikit-learn: a row per sample, a field per argument.

    It takes the place of these arguments in every method of `OSE` and `VRF`: ``fit(X, labels)``
    is ``fit(X["logits_zs"], X["logits_ft"], labels)``. So pipelines and cross-validation, which
    hand on one X and split it by rows, work on outputs of two models.

    Parameters
    ----------
    columns : some of `features_ft` [N, D], `logits_zs` and `logits_ft` [N, C], arrays or tensors.

    Raises InputError for another name, arrays that do not have one row for each sample, and what
    cannot be features or logits, such as NaN or probabilities.

    Examples
    --------
    >>> import numpy as np
    >>> from bench import OSE, sample_table
    >>> zs, ft = np.log([[0.8, 0.2], [0.3, 0.7]]), np.log([[0.4, 0.6], [0.1, 0.9]])
    >>> X = sample_table(logits_zs=zs, logits_ft=ft)
    >>> X.shape, OSE(alpha=0.5).predict_proba(X[:1])
    ((2,), array([[0.6, 0.4]]))
    """
    for name in columns.keys() - set(COLUMNS):
        raise unknown_name("column of a sample table", name, COLUMNS)
    arrays = dict(zip(columns, to_numpy(**columns), strict=True)) if columns else {}
    shapes = {name: array.shape for name, array in arrays.items()}
    if {len(shape) for shape in shapes.values()} != {2} or len({n for n, _ in shapes.values()}) > 1:
        raise InputError(f"sample table: {shapes}, expected [N, D] or [N, C], with the same N")
    with collected():  # remarks are those of the method that takes the table
        for name, array in arrays.items():
            (checked_logits if name.startswith("logits") else checked_matrix)(name, array)
    table = np.empty(
        len(next(iter(arrays.values()))),
        dtype=[(name, array.dtype, array.shape[1:]) for name, array in arrays.items()],
    )
    for name, array in arrays.items():
        table[name] = array
    return table


def takes_table(method: F) -> F:
    """Let a method take a `sample_table` in place of its arguments that are columns of one.

    Examples
    --------
    A method of an estimator that takes logits takes a table with a column ``logits_ft``, too.

    >>> import numpy as np
    >>> from bench.posthoc.configuration import sample_table, takes_table
    >>> class Confidence:
    ...     @takes_table
    ...     def of(self, logits_ft):
    ...         return logits_ft.max(axis=1)
    ...
    >>> Confidence().of(sample_table(logits_ft=np.array([[0.5, 2.0]])))
    array([2.])
    """
    columns = [name for name in inspect.signature(method).parameters if name in COLUMNS]

    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **named: Any) -> Any:
        table = arguments[0] if arguments else None
        if isinstance(table, np.ndarray) and table.dtype.names:
            if lacking := [name for name in columns if name not in table.dtype.names]:
                raise InputError(
                    f"{type(self).__name__}.{method.__name__} needs {lacking[0]}, and the table "
                    f"has {', '.join(table.dtype.names)}: add it with sample_table"
                )
            arguments = (*(np.ascontiguousarray(table[c]) for c in columns), *arguments[1:])
        return method(self, *arguments, **named)

    return cast(F, call)
