"""For tests: a data folder, and cards whose archives are on a local server."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from commands import Result, bench
from imagenet_archives import found
from servers import Web

from bench.data.cards import Archive, SetCard, cards
from bench.data.download import acquire as obtain
from bench.data.download import fetch as download
from bench.data.download.fetch import Patience

FILES = {"n01440764/a.jpeg": b"a" * 100, "n02119789/b.jpeg": b"b" * 100}


def packed(prefix: str = "", files: Mapping[str, bytes] = FILES) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as file:
        for name, content in files.items():
            member = tarfile.TarInfo(prefix + name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


class World:
    """A local server, an empty data folder, and cards with addresses on that server."""

    def __init__(self, net: Web, data: Path, patch: pytest.MonkeyPatch) -> None:
        self.net, self.data, self.cards = net, data, dict[str, SetCard]()
        net.files.clear()
        net.asked.clear()
        patch.setattr(obtain, "cards", lambda: self.cards)
        patch.setattr(download, "Patience", lambda: Patience(attempts=2, wait=0.01, timeout=5))
        patch.delenv("BENCH_DATA", raising=False)

    def archive(self, name: str, content: bytes, **fields: Any) -> Archive:
        """Add an archive to the server and return its description."""
        sums = {"sha256": hashlib.sha256(content).hexdigest()}
        whole = {"file": name, "holds": "test", "size": len(content), "checksums": sums}
        url = self.net.url(name, content)
        return Archive.model_validate({"urls": [url], "note": "-", **whole, **fields})

    def card(self, name: str, *archives: Archive, **fields: Any) -> None:
        """Add a copy of a real card with other archives."""
        self.cards[name] = cards()[name].model_copy(update={"archives": archives, **fields})

    def run(self, command: str, *arguments: object) -> Result:
        return bench("data", command, *arguments, "--data", self.data)

    @property
    def kept(self) -> dict[str, bytes]:
        """The files in the data folder, without hidden ones."""
        files = found(self.data).items()
        return {name: c for name, c in files if not any(p[0] == "." for p in name.split("/"))}


def in_folder(folder: str, files: Mapping[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}
