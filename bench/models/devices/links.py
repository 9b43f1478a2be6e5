"""Links between the processes of a group, which end when a process or its machine does."""

from __future__ import annotations

import os
import secrets
import socket
import struct
import time
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any

from bench.core.environment import process_count
from bench.core.errors import InputError

PLACE = "links"
"""Where the first process says how it is reached."""

HELLO_SECONDS = 10
"""The time a process that connects has to say who it is; strangers may connect, too."""

IDLE_SECONDS, PROBES, PROBE_SECONDS = 10, 5, 5
"""When a machine is asked whether it is still there, how often, and how long after each other."""


def linked(rank: int, board: Any, seconds: float) -> dict[int, Connection]:
    """Connect the first process with each other one; return {rank: connection} of this process.

    `board` is a torch.distributed store that all processes reach. A connection is closed by the
    system when its process ends, however that happens; it fails within a minute of the end of a
    machine. Raises InputError unless all processes connect within `seconds`.

    Examples
    --------
    >>> from torch.distributed import HashStore
    >>> from bench.models.devices.links import linked
    >>> board = HashStore()
    >>> linked(0, board, seconds=10)  # alone
    {}
    """
    size = process_count()
    if rank:
        return {0: _connected(rank, board.get(PLACE).decode(), seconds)}
    is_one_machine = os.environ.get("LOCAL_WORLD_SIZE", "1") == str(size)
    links: dict[int, Connection] = {}
    with socket.create_server(("127.0.0.1" if is_one_machine else "", 0), backlog=size) as server:
        key, port = secrets.token_bytes(32), server.getsockname()[1]
        host = "127.0.0.1" if is_one_machine else _own_address()
        board.set(PLACE, f"{key.hex()} {port} {host}")
        end = time.monotonic() + seconds
        while len(links) < size - 1:
            server.settimeout(max(0.0, end - time.monotonic()) or 1e-3)
            try:
                link = _link(server.accept()[0], HELLO_SECONDS)
            except TimeoutError:
                raise InputError(
                    f"{len(links) + 1} of {size} processes joined within {seconds:.0f} s: start as "
                    "many as WORLD_SIZE says, which see each other at MASTER_ADDR"
                ) from None
            try:
                deliver_challenge(link, key)
                answer_challenge(link, key)
                links[link.recv()] = link
            except Exception:  # not one of ours
                link.close()
    for link in links.values():
        _hello_within(link, 0)
    return links


def _connected(rank: int, place: str, seconds: float) -> Connection:
    secret, port, host = place.split()
    key = bytes.fromhex(secret)
    try:
        link = _link(socket.create_connection((host, int(port)), timeout=seconds), seconds)
        answer_challenge(link, key)
        deliver_challenge(link, key)
        link.send(rank)
    except Exception as error:
        raise InputError(
            f"process {rank} cannot reach process 0 at {host}, port {port}: open the ports between "
            f"the machines ({error})"
        ) from error
    _hello_within(link, 0)
    return link


def _link(found: socket.socket, seconds: float) -> Connection:
    """Return a connection over a socket, which the system watches; the other end has some time."""
    found.settimeout(None)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in (
        ("TCP_KEEPIDLE", IDLE_SECONDS),
        ("TCP_KEEPINTVL", PROBE_SECONDS),
        ("TCP_KEEPCNT", PROBES),
        ("TCP_USER_TIMEOUT", 1000 * (IDLE_SECONDS + PROBES * PROBE_SECONDS)),
    ):
        if hasattr(socket, name):  # else the system's own times hold
            found.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    link = Connection(found.detach())
    _hello_within(link, seconds)
    return link


def _hello_within(link: Connection, seconds: float) -> None:
    """Have reads of a connection fail after some time; 0 for never."""
    with socket.socket(fileno=os.dup(link.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(seconds), 0))


def _own_address() -> str:
    """Return the address by which machines that reach MASTER_ADDR reach this one."""
    master = os.environ["MASTER_ADDR"]
    with socket.create_connection((master, int(os.environ["MASTER_PORT"])), timeout=60) as found:
        own = str(found.getsockname()[0])
    return master if own == "::1" or own.startswith("127.") else own
