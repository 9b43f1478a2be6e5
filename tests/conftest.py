"""Shared fixtures: a finished micro run, a random run, and synthetic copies of the data sets."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from browser import run_of_chance
from buckets import KEYS, S3, Request, s3_server
from commands import CONDITIONS, SAME_BENCH, SMALL, Finished, bench, start
from data_world import World
from filelock import FileLock
from hypothesis import HealthCheck, settings
from servers import Web, web
from suite_files import NAMES, folders
from tiny_clip import Tiny

from bench.checks.golden import find_golden
from bench.core.records import Record
from bench.data.folder import SYNTHETIC
from bench.leaderboard.samples import SampleOutputs
from bench.testing.synthetic import cifar, make_copies, transfer
from bench.testing.synthetic.wilds import make_wilds

# As in `bench.cli.main.main`, before torch is imported: idle OpenMP threads must not spin.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No test depends on the speed of the machine.
settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-speed")


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """`SMALL`, run once for all tests and test processes. Tests may add to its cache."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    run = Finished(shared / "small-cache", shared / "small-run")
    with FileLock(shared / "small.lock"):
        if not run.out.exists():
            result = bench(*SMALL, "--cache-dir", run.cache, "--out", run.out)
            assert result.code == 0, result.err
            shutil.copytree(run.cache, shared / "small-cache-as-made")
    return run


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The command of golden:mini, run once in its own process; read-only."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    command = tuple(find_golden("mini").command.split()[1:])
    run = Finished(shared / "mini-cache", shared / "mini-run", command)
    with FileLock(shared / "mini.lock"):
        if not run.out.exists():
            own = {k: v for k, v in SAME_BENCH.items() if k not in CONDITIONS}
            process = start(*command, "--cache-dir", run.cache, "--out", run.out, env=own)
            _, err = process.communicate(timeout=1800)
            assert process.returncode == 0, err
    return run


@pytest.fixture
def own(small: Finished, tmp_path: Path) -> Finished:
    """A copy of the finished run and of its original cache, which a test may change or damage."""
    shutil.copytree(small.cache.parent / "small-cache-as-made", tmp_path / "cache")
    shutil.copytree(small.out, tmp_path / "run")
    return Finished(tmp_path / "cache", tmp_path / "run")


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a model is needed."""

    def refuse(*_: object) -> Callable[..., None]:
        def make(*_: object) -> None:
            raise KeyboardInterrupt("a model was needed")

        return make

    monkeypatch.setattr("bench.runs.session.engine_maker", refuse)


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic copies of all data sets, made once for all test processes; read-only."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / "synthetic.lock"):
        if not (shared / "synthetic" / SYNTHETIC).exists():
            make_copies(shared / "synthetic")
    return shared / "synthetic"


@pytest.fixture(scope="session")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic copies of CIFAR-10, its shifts and the transfer sets; read-only."""
    root = tmp_path_factory.mktemp("copies")
    counts = cifar.make_cifar(root) | transfer.make_transfer(root)
    (root / SYNTHETIC).write_text(json.dumps(counts))
    return root


@pytest.fixture
def data(copies: Path, tmp_path: Path) -> Path:
    """A copy of `copies`, which a test may change or damage."""
    return Path(shutil.copytree(copies, tmp_path / "data"))


@pytest.fixture
def linked(synthetic: Path, tmp_path: Path) -> Path:
    """A data folder of links to `synthetic`; a test replaces the link of what it changes."""
    root = tmp_path / "data"
    root.mkdir()
    for entry in synthetic.iterdir():
        (root / entry.name).symlink_to(entry)
    return root


@pytest.fixture(scope="module")
def made() -> tuple[list[Record], list[SampleOutputs]]:
    """A random run with its samples, for pages; read-only."""
    return run_of_chance()


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """A data folder with the splits train and test as class folders."""
    root = tmp_path / "data"
    for role in ("train", "test"):
        folders(root / role, NAMES)
    return root


@pytest.fixture(scope="session")
def wilds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with the synthetic copies of both WILDS sets; read-only."""
    root = tmp_path_factory.mktemp("wilds")
    (root / SYNTHETIC).write_text(json.dumps(make_wilds(root)))
    return root


@pytest.fixture
def own_wilds(wilds: Path, tmp_path: Path) -> Path:
    """A copy of `wilds` that a test may change, except for the images, which are links."""
    shutil.copytree(wilds, tmp_path / "data", ignore=shutil.ignore_patterns("*.png", "*.jpg"))
    for images in ("fmow_v1.1/images", "iwildcam_v2.0/train"):
        (tmp_path / "data" / images).rmdir()
        (tmp_path / "data" / images).symlink_to(wilds / images)
    return tmp_path / "data"


@pytest.fixture(scope="module")
def server() -> Iterator[Web]:
    """A running web server without files."""
    with web() as running:
        yield running


@pytest.fixture
def world(server: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A server, an empty data folder and no cards, for downloads."""
    data = tmp_path / "data"
    data.mkdir()
    return World(server, data, monkeypatch)


@pytest.fixture(scope="session")
def s3_running() -> Iterator[tuple[str, list[Request]]]:
    """A running S3 server of this test process."""
    with s3_server() as running:
        yield running


@pytest.fixture
def s3(
    s3_running: tuple[str, list[Request]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> S3:
    """A bucket of its own on the server, which every client here finds; nothing waits."""
    endpoint, asked = s3_running
    own = {"AWS_ENDPOINT_URL": endpoint, "BENCH_CACHE": str(tmp_path / "cache")}
    for name, value in {**KEYS, **own}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("bench.core.store.bucket.PAUSES", (0.0, 0.0))
    found = S3(endpoint, f"b-{uuid.uuid4().hex}", tmp_path, asked)
    found.system.mkdir(found.bucket)
    found.clear()
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache folder that does not exist yet."""
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def tiny() -> Tiny:
    from bench.api.recipes import TextHead
    from bench.models.clip import identify_backbone, load_clip, tokenized

    backbone = identify_backbone("tiny", "embedded", Path("unused"))
    clip = load_clip(backbone)
    recipe = TextHead(backbone, ("cat", "red dog", "house"), ("a photo of a {}.", "a {}"))
    return Tiny(clip, tokenized(clip, recipe))
