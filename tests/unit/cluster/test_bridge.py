"""The bridge process between two loopback ports: no namespace is needed to see that it carries bytes faithfully."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import bridge
from tests.wait import eventually


@pytest.fixture
def front() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1024)
        yield listener


def start(front: socket.socket, port: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-ES", str(Path(bridge.__file__)), str(front.fileno()), "127.0.0.1", str(port)]
    return subprocess.Popen(command, pass_fds=(front.fileno(),))


def start_inside(port: int, target: int) -> "subprocess.Popen[bytes]":
    source = Path(bridge.__file__).read_text()
    return subprocess.Popen([sys.executable, "-ESc", source, f":{port}", "127.0.0.1", str(target)])


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer only when the other side has closed its half, as `kubectl exec` with an input does."""
    received = await reader.read()
    writer.write(received)
    await writer.drain()
    writer.close()


async def ask(port: int, message: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(message)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def test_hundreds_of_connections_at_a_time_and_half_closed_ones(front: socket.socket) -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=1024)
    async with server:
        with start(front, server.sockets[0].getsockname()[1]) as process:
            messages = [f"message {number}".encode() for number in range(400)]
            answers = await asyncio.gather(*(ask(front.getsockname()[1], message) for message in messages))
            assert answers == messages
            large = bytes(range(256)) * 40_000
            assert await asyncio.wait_for(ask(front.getsockname()[1], large), timeout=30) == large
            process.kill()


async def test_in_a_pod_it_runs_from_its_text_and_opens_its_own_port(front: socket.socket) -> None:
    port = front.getsockname()[1]
    front.close()
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        with start_inside(port, server.sockets[0].getsockname()[1]) as process:
            await asyncio.to_thread(eventually, lambda: opened(port), within_s=10, what="the port is open")
            assert await asyncio.wait_for(ask(port, b"hello"), timeout=10) == b"hello"
            process.kill()


def opened(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


class ReadsOn(asyncio.Transport):
    """A transport that goes on reading when its protocol asks it to pause, as Python 3.11.2's do at first."""

    def __init__(self) -> None:
        super().__init__()
        self.written, self.ended = b"", asyncio.Event()

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def is_closing(self) -> bool:
        return False

    def write(self, data: bytes) -> None:
        self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended.set()


async def test_what_comes_before_the_other_end_stands_is_not_lost() -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        transport, incoming = ReadsOn(), bridge._Incoming("127.0.0.1", server.sockets[0].getsockname()[1])
        incoming.connection_made(transport)
        for part in (b"very ", b"early"):
            incoming.data_received(part)
        incoming.eof_received()
        await asyncio.wait_for(transport.ended.wait(), timeout=10)
        incoming.connection_lost(None)
    assert transport.written == b"very early"


async def test_a_target_that_refuses_ends_the_connection_and_not_the_bridge(front: socket.socket) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with start(front, port) as process:
            for _ in range(2):
                with pytest.raises(ConnectionError):
                    await asyncio.wait_for(fails(front.getsockname()[1]), timeout=10)
            assert process.poll() is None
            process.kill()


async def fails(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if not await reader.read():
            raise ConnectionResetError
    finally:
        writer.close()
