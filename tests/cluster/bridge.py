"""A port of the host's loopback that leads into a network namespace.

Run as a program: it is started inside the namespace with a listening socket that was opened outside. A socket stays
in the namespace it was made in, so connections come in on the host and go out here, without any route between.
In a pod it opens its socket itself, and `kubectl port-forward` leads to it.
"""

from __future__ import annotations

import asyncio
import socket
import sys


class _End(asyncio.Protocol):
    """One end of a bridged connection: what it receives is written to the other end."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def eof_received(self) -> bool:
        # A half-closed connection stays open the other way: that is how `kubectl exec` ends its input.
        if self.other is not None and self.other.transport is not None and self.other.transport.can_write_eof():
            self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            if exc is not None:
                self.other.transport.abort()
            else:
                self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None and not self.other.transport.is_closing():
            self.other.transport.resume_reading()


class _Incoming(_End):
    """The end on the host: opens the other one first and reads nothing until it stands."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._target = (host, port)
        self._opening: asyncio.Task[None] | None = None
        self._early: list[bytes] = []
        self._early_end = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._opening = asyncio.get_running_loop().create_task(self._open(self.transport))

    def data_received(self, data: bytes) -> None:
        # Python 3.11.2 goes on reading what was paused in connection_made.
        if self.other is None:
            self._early.append(data)
        else:
            super().data_received(data)

    def eof_received(self) -> bool:
        if self.other is None:
            self._early_end = True
            return True
        return super().eof_received()

    async def _open(self, transport: asyncio.Transport) -> None:
        try:
            _, other = await asyncio.get_running_loop().create_connection(_End, *self._target)
        except OSError:
            transport.abort()
            return
        if transport.is_closing():
            assert other.transport is not None
            other.transport.abort()
            return
        self.other, other.other = other, self
        for data in self._early:
            super().data_received(data)
        self._early.clear()
        if self._early_end:
            super().eof_received()
        transport.resume_reading()


async def _serve(listener: socket.socket, host: str, port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: _Incoming(host, port), sock=listener, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    # The number of an inherited socket, or a colon and the port to open.
    incoming, target_host, target_port = sys.argv[1:]
    opens = incoming.startswith(":")
    inner = socket.create_server(("", int(incoming[1:]))) if opens else socket.socket(fileno=int(incoming))
    asyncio.run(_serve(inner, target_host, int(target_port)))
