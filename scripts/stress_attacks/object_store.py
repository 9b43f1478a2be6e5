"""An S3 server on this machine whose connections can be cut, as if it died and came back.

Run as a program, it relays one port to another: killing that process is what clients see when an
object store dies with requests half done. moto behind it keeps what whole requests stored.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.request import Request, urlopen

HOST, BUCKET = "127.0.0.1", "stress"


@dataclass
class ObjectStore:
    """A bucket behind a relay; `relay` is its process."""

    behind: int
    port: int
    relay: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a client of this server."""
        return {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def start(self) -> None:
        """Let clients in; a moment later they are."""
        self.relay = subprocess.Popen([sys.executable, __file__, str(self.port), str(self.behind)])
        _wait_for(self.port)

    def kill(self) -> None:
        """Cut all connections."""
        if self.relay is not None:
            self.relay.kill()
            self.relay.wait()


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Run a server with an empty bucket, and its relay."""
    behind, port = _free_port(), _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(behind)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    store = ObjectStore(behind, port)
    try:
        _wait_for(behind)
        urlopen(Request(f"http://{HOST}:{behind}/{BUCKET}", method="PUT"), timeout=60).close()
        store.start()
        yield store
    finally:
        store.kill()
        server.kill()
        server.wait()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind((HOST, 0))
        return int(one.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(600):
        with suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.1)
    raise RuntimeError(f"no server on port {port}")


async def _relay(port: int, behind: int) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, here = await asyncio.open_connection(HOST, behind)
        await asyncio.gather(pump(reader, here), pump(there, writer))

    server = await asyncio.start_server(accept, HOST, port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_relay(int(sys.argv[1]), int(sys.argv[2])))
