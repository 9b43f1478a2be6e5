"""What scikit-learn asks of an estimator, without depending on it: parameters, cloning, tags."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

from bench.core.errors import unknown_name


class Configurable:
    """Base of the estimators: dataclasses whose constructor arguments are their parameters.

    With it `sklearn.base.clone`, `sklearn.model_selection` and, for estimators that take one array,
    `sklearn.pipeline` work; scikit-learn need not be installed.

    Examples
    --------
    >>> from bench import OSE
    >>> OSE(alpha=0.3).get_params()
    {'alpha': 0.3, 'space': 'probabilities'}
    >>> OSE().set_params(space="logits")
    OSE(alpha=0.5, space='logits')
    """

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

    @classmethod
    def _names(cls) -> list[str]:
        return [f.name for f in dataclasses.fields(cls) if f.init]  # type: ignore[arg-type]

    def __sklearn_is_fitted__(self) -> bool:
        """Whether `fit` has set an attribute that ends in ``_``."""
        return any(name.endswith("_") and name[0] != "_" for name in vars(self))

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's default tags; only scikit-learn calls this."""
        from sklearn.base import BaseEstimator

        return BaseEstimator().__sklearn_tags__()
