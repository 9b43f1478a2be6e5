"""The registry that finds methods and data sets by name.

A plugin file registers its classes, with the decorators below, when it is imported. `methods()`
and `datasets()` import every module of `bench.methods` and `bench.datasets`, and the modules that
installed packages declare as entry points ``bench.methods`` and ``bench.datasets``. `load_plugin`
imports one loose file.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from bench.api.dataset import Dataset
from bench.api.declarations import check_answers, check_declarations
from bench.api.method import Method
from bench.core.errors import BenchError, InputError, one_line, shortened, unknown_name
from bench.core.foreign.files import read_bounded

M = TypeVar("M", bound=type[Any])
_METHODS: dict[str, type[Method]] = {}
_DATASETS: dict[str, type[Dataset]] = {}
_PLUGINS: dict[Path, PluginFile] = {}


@dataclass(frozen=True)
class PluginFile:
    """A loose file as it was imported: its SHA-256, and the name of its module.

    Examples
    --------
    >>> from bench.api.registry import PluginFile
    >>> PluginFile("1a56c277251ad694", "my_method").module
    'my_method@1a56c277251a'
    """

    digest: str
    stem: str

    @property
    def module(self) -> str:
        """``STEM@DIGEST``, with the first 12 hex digits."""
        return f"{self.stem}@{self.digest[:12]}"


ALIASES: Mapping[str, tuple[str, ...]] = {
    "transfer": ("cifar100", "dtd", "food101", "sun397", "cars"),
}
"""Names that stand for several suites."""


def method(cls: M) -> M:
    """Register a `Method` under its `name` (class decorator).

    Raises InputError if it is no class of a method, or if another class has its name.

    Examples
    --------
    The file of a method registers its class; here, one that is VRF with another grid.

    >>> from dataclasses import dataclass
    >>> from typing import ClassVar
    >>> from bench.api.registry import find_method, method
    >>> @method
    ... @dataclass(frozen=True)
    ... class WideGrid(find_method("vrf")):
    ...     name: ClassVar[str] = "example-wide-grid"
    ...     a_grid: tuple[float, ...] = (0.0, 1.0, 2.0)
    ...
    >>> find_method("example-wide-grid")().a_grid
    (0.0, 1.0, 2.0)
    """
    if not (isinstance(cls, type) and issubclass(cls, Method)):
        raise InputError(f"@registry.method stands above {_called(cls)}, which is no Method class")
    check_answers(cls)
    return _register("method", _METHODS, cls)


def dataset(cls: M) -> M:
    """Register a `Dataset` under its `name` (class decorator).

    Raises InputError if another class has that name.

    Examples
    --------
    The file of a data set registers its class.

    >>> from typing import ClassVar
    >>> from bench.api.registry import dataset, find_dataset
    >>> @dataset
    ... class Pets:
    ...     name: ClassVar[str] = "example-pets"
    ...
    >>> find_dataset("example-pets") is Pets
    True
    """
    if not isinstance(cls, type):
        raise InputError(f"@registry.dataset stands above {_called(cls)}, which is no class")
    return _register("dataset", _DATASETS, cls)


def _called(found: object) -> str:
    return shortened(getattr(found, "__name__", repr(found)), 100)


def _register(kind: str, table: dict[str, Any], cls: M) -> M:
    if not isinstance(getattr(cls, "name", None), str):
        raise InputError(f'{cls.__name__} has no name: write name: ClassVar[str] = "..." in it')
    registered = table.get(cls.name)
    if registered is not None and registered is not cls:
        raise InputError(
            f"{kind} {cls.name!r} is registered twice: by {_where(registered)} and by "
            f"{_where(cls)}; rename one of them"
        )
    table[cls.name] = cls
    return cls


def _where(cls: type) -> str:
    return f"{cls.__module__} ({inspect.getsourcefile(cls)})"


@cache
def _discover(group: str) -> None:
    try:
        package = importlib.import_module(group)
    except ModuleNotFoundError as error:
        if error.name != group:
            raise
        link = Path(__file__).parents[1] / group.rpartition(".")[2]
        raise InputError(
            f"{link} is not the link to a folder that it is in the repository: Git made no "
            "symbolic links here, as on Windows by default. Turn on Windows' developer mode and "
            "clone again with git clone -c core.symlinks=true, or install a wheel"
        ) from error
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
        if not module.name.startswith("_"):
            importlib.import_module(f"{group}.{module.name}")
    for point in sorted(entry_points(group=group), key=lambda p: p.name):
        _load(point)


def _load(point: EntryPoint) -> None:
    """Import an entry point. If that fails, raise InputError that names the declaring package."""
    try:
        point.load()
    except BenchError:
        raise
    except Exception as error:
        package = point.dist.name if point.dist else point.module
        raise InputError(
            f"package {package} declares {point.value} for {point.group}, which cannot be "
            f"imported: repair or uninstall it ({one_line(error)})"
        ) from error


def _all(group: str, table: dict[str, Any]) -> Mapping[str, Any]:
    _discover(group)
    return dict(sorted(table.items()))


def methods() -> Mapping[str, type[Method]]:
    """Return all method classes by name, sorted.

    Examples
    --------
    >>> from bench.api.registry import methods
    >>> [name for name in methods() if name.startswith("vrf")]
    ['vrf', 'vrf-all-correct', 'vrf-constant', 'vrf-global', 'vrf-shuffled']
    """
    return _all("bench.methods", _METHODS)


def datasets() -> Mapping[str, type[Dataset]]:
    """Return all dataset classes by name, sorted.

    Examples
    --------
    >>> from bench.api.registry import datasets
    >>> "mini" in datasets(), "imagenet" in datasets()
    (True, True)
    """
    return _all("bench.datasets", _DATASETS)


def find_method(name: str) -> type[Method]:
    """Return the method class `name`. Raises InputError for an unknown name.

    Examples
    --------
    >>> from bench.api.registry import find_method
    >>> find_method("wise-ft").title
    'WiSE-FT'
    >>> find_method("wiseft")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: unknown method 'wiseft': did you mean 'wise-ft'? ...
    """
    known = methods()
    if name not in known:
        raise unknown_name("method", name, known, "bench list methods")
    return known[name]


def find_dataset(name: str) -> type[Dataset]:
    """Return the dataset class `name`. Raises InputError for an unknown name.

    Examples
    --------
    >>> from bench.api.registry import find_dataset
    >>> find_dataset("mini").card.title
    'mini: drawings of objects, made by a program, and five shifts, with a tiny CLIP'
    """
    known = datasets()
    if name not in known:
        raise unknown_name("suite", name, known, "bench list suites")
    return known[name]


def load_plugin(path: Path | str) -> str:
    """Import a Python file that registers methods or data sets; return its SHA-256.

    The module is named ``STEM@DIGEST``, with the first 12 hex digits of the SHA-256. Keys contain
    the module of a class, so whatever depends on the file is computed again once it is edited. In a
    process that loaded it before, the edited classes replace the earlier ones; an unchanged file is
    not imported again.

    Raises InputError if the file cannot be read or imported, or registers nothing.

    Examples
    --------
    >>> from bench.api.registry import load_plugin
    >>> load_plugin("nowhere.py")
    Traceback (most recent call last):
    ...
    bench.core.errors.InputError: --plugin nowhere.py: cannot read the file: ...
    """
    place = Path(path).resolve()
    try:
        source = read_bounded(place)
    except OSError as error:
        raise InputError(f"--plugin {path}: cannot read the file: {error.strerror}") from error
    file = PluginFile(hashlib.sha256(source).hexdigest(), place.stem)
    if file in _PLUGINS.values():  # a copy elsewhere would define the same classes
        _PLUGINS[place] = file
        return file.digest
    methods(), datasets()  # first, so that a name which is taken is found while importing the file
    tables: tuple[dict[Any, Any], ...] = (_METHODS, _DATASETS, _PLUGINS)
    before = [dict(table) for table in tables]
    module = ModuleType(file.module)
    module.__file__ = str(place)
    sys.modules[module.__name__] = module  # where dataclasses look for it
    try:
        if place in _PLUGINS:
            _forget(_PLUGINS[place])
        exec(compile(source, str(place), "exec", dont_inherit=True), module.__dict__)
        known = [*_METHODS.values(), *_DATASETS.values()]
        own = [cls for cls in known if cls.__module__ == module.__name__]
        if not own:
            raise InputError(
                "it registers nothing: write @registry.method (or @registry.dataset) above a class"
            )
        for cls in own:
            if issubclass(cls, Method):
                check_declarations(cls, _METHODS)
    except BaseException as error:
        del sys.modules[module.__name__]
        for table, earlier in zip(tables, before, strict=True):
            table.clear()
            table.update(earlier)
        if isinstance(error, KeyboardInterrupt):
            raise
        reason = shortened(one_line(error), 300)
        raise InputError(f"--plugin {path}: cannot be used: {reason}") from error
    _PLUGINS[place] = file
    return file.digest


def loaded_plugins() -> Mapping[Path, PluginFile]:
    """Return the files that `load_plugin` has imported, by path.

    Examples
    --------
    >>> from bench.api.registry import loaded_plugins
    >>> loaded_plugins()
    {}
    """
    return dict(_PLUGINS)


def _forget(file: PluginFile) -> None:
    """Remove the classes of a plugin file, and the file from wherever it was loaded."""
    for table in (_METHODS, _DATASETS):
        for name in [name for name, cls in table.items() if cls.__module__ == file.module]:
            del table[name]
    for path in [path for path, other in _PLUGINS.items() if other == file]:
        del _PLUGINS[path]
