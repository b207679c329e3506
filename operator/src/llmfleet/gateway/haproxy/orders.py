"""What one HAProxy worker has to be told: the difference between what it does and what it shall do.

Pure. Orders are made from what the worker itself says it does, so they may be lost, repeated or cut short: the next
look finds what is left to do.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from llmfleet.gateway.routing import Arm, Engine

CHECK: Final = "check inter 1s fastinter 300ms fall 3 rise 1 observe layer7 error-limit 10 on-error mark-down"
"""How an engine is watched: every second, and by what it answers; ten faults in a row take it out until it recovers."""
SLOW_START: Final = "slowstart 10s"


@dataclass(frozen=True, slots=True)
class Server:
    """A server of a worker, as `show stat` tells it.

    Attributes:
        id: number that consistent hashing uses.
        address: host:port.
        at_once: its maxconn, 0 for none.
        status: such as UP, DOWN, MAINT, DRAIN or "UP 1/3".
        busy: requests it works on, and waiting for it.
    """

    name: str
    id: int
    address: str
    at_once: int
    status: str
    busy: int

    @property
    def resting(self) -> bool:
        """Whether it was taken out of service by an order."""
        return self.status.startswith("MAINT")

    @property
    def draining(self) -> bool:
        """Whether it gets nothing new by an order."""
        return self.status.startswith("DRAIN")


def servers(stat: str) -> dict[str, dict[str, Server]]:
    """Parse `show stat -1 4 -1`: servers by name, by backend."""
    found: dict[str, dict[str, Server]] = {}
    for row in csv.DictReader(stat.removeprefix("# ").splitlines()):
        server = Server(
            row["svname"],
            int(row["sid"]),
            row["addr"],
            int(row["slim"] or 0),
            row["status"],
            int(row["scur"] or 0) + int(row["qcur"] or 0),
        )
        found.setdefault(row["pxname"], {})[server.name] = server
    return found


def server_name(engine: Engine) -> str:
    """Return the name that an engine's server has in every gateway."""
    return f"e{engine.id}"


def orders(arms: Mapping[str, Arm], stand: Mapping[str, Mapping[str, Server]]) -> list[str]:
    """Return what to tell a worker, in order.

    Args:
        arms: what the backends shall serve; a backend that is not named shall serve nothing.
        stand: what they have now.
    """
    told: list[str] = []
    for backend in sorted({*arms, *stand}):
        told += _backend(backend, arms.get(backend, Arm()), stand.get(backend, {}))
    return told


def server_line(engine: Engine, at_once: int) -> str:
    """Return a server as HAProxy's file has it: up from the beginning."""
    return f"{server_name(engine)} {_options(engine, at_once)}{' weight 0' if engine.leaving else ''}"


def _options(engine: Engine, at_once: int) -> str:
    limit = f" maxconn {at_once}" if at_once else ""
    return f"{_address(engine)} id {engine.id} {CHECK} {SLOW_START}{limit}"


def _backend(backend: str, arm: Arm, stand: Mapping[str, Server]) -> Iterator[str]:
    wanted = {server_name(engine): engine for engine in arm.engines}
    for name, engine in wanted.items():
        there = stand.get(name)
        if there is None:
            yield from _added(f"{backend}/{name}", engine, arm.at_once)
        else:
            yield from _kept(f"{backend}/{name}", engine, arm.at_once, there)
    for name, server in stand.items():
        if name not in wanted:
            yield from _removed(f"{backend}/{name}", server)


def _added(path: str, engine: Engine, at_once: int) -> Iterator[str]:
    """Add an engine and believe at once that it is up: Kubernetes has asked it."""
    yield f"add server {path} {_options(engine, at_once)}"
    yield f"enable health {path}"
    yield f"set server {path} health up"
    yield f"set server {path} state {'drain' if engine.leaving else 'ready'}"


def _kept(path: str, engine: Engine, at_once: int, there: Server) -> Iterator[str]:
    if there.address != _address(engine):
        yield f"set server {path} addr {engine.address} port {engine.port}"
    if at_once and there.at_once != at_once:
        yield f"set server {path} maxconn {at_once}"
    if engine.leaving and not there.draining:
        yield f"set server {path} state drain"
    if not engine.leaving and (there.draining or there.resting):
        yield f"set server {path} state ready"


def _removed(path: str, server: Server) -> Iterator[str]:
    """Take out what is gone: HAProxy lets it go when nobody uses it any more."""
    if not server.resting:
        yield f"set server {path} state maint"
    if not server.busy:
        yield f"del server {path}"


def _address(engine: Engine) -> str:
    return f"{engine.address}:{engine.port}"


def map_orders(path: str, wanted: Mapping[str, str], stand: Mapping[str, str]) -> Iterable[str]:
    """Return what makes a map of a worker so: first what is new, then what is changed, then what is gone."""
    for key in sorted(wanted.keys() - stand.keys()):
        yield f"add map {path} {key} {wanted[key]}"
    for key in sorted(wanted.keys() & stand.keys()):
        if wanted[key] != stand[key]:
            yield f"set map {path} {key} {wanted[key]}"
    for key in sorted(stand.keys() - wanted.keys()):
        yield f"del map {path} {key}"


def entries(shown: str) -> dict[str, str]:
    """Parse `show map`: values by key."""
    found = {}
    for line in shown.splitlines():
        _, _, rest = line.partition(" ")
        key, _, value = rest.partition(" ")
        if key:
            found[key] = value
    return found
