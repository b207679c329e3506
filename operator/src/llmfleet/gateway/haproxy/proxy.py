"""Makes HAProxy do what shall be: its files always, its workers by orders, a reload only where nothing else helps."""

import logging
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from llmfleet.gateway.haproxy import file, orders
from llmfleet.gateway.haproxy.file import Structure
from llmfleet.gateway.haproxy.orders import Server
from llmfleet.gateway.haproxy.runtime import Master
from llmfleet.gateway.haproxy.slots import Slot, seat, sizes_for, slots_in
from llmfleet.gateway.routing import WHOLE, Arm, Model, Routing, Tenant

log = logging.getLogger(__name__)

_STAT: Final = "show stat -1 4 -1"


@dataclass(frozen=True, slots=True)
class Worker:
    """What a worker does now.

    Attributes:
        backends: that its file has.
        servers: by name, by backend.
        maps: entries of each map that its file uses.
    """

    pid: int
    backends: frozenset[str]
    servers: Mapping[str, Mapping[str, Server]]
    maps: Mapping[str, Mapping[str, str]]


class Proxy:
    """One HAProxy.

    Args:
        folder: what agent and HAProxy share.
        structure: what its file fixes; its sizes grow with the models.
    """

    def __init__(self, folder: Path, structure: Structure) -> None:
        self._folder = folder
        self._structure = structure
        self._slots: Mapping[str, Slot] = {}
        self._master = Master(folder / "master.sock")
        self._refused: Structure | None = None
        self._written: object = None
        self._routing = Routing()
        self._revisions: Mapping[str, str] = {}
        self.current: Worker | None = None
        """The worker that takes new requests, as it was after the last look."""

    def boot(self) -> None:
        """Write the files, unless they are there: HAProxy starts with them, though no model be known yet."""
        self._folder.mkdir(parents=True, exist_ok=True)
        file.put(self._folder / file.SCRIPT, file.script())
        for name in file.MAPS:
            (self._folder / name).touch()
        if not (self._folder / file.NAME).exists():
            self._write(Routing())

    async def converge(self, routing: Routing) -> bool:
        """Make HAProxy do what shall be; return whether it does by now.

        Raises:
            HaproxyError: It does not answer.
        """
        self._routing = routing
        workers = [await self._look(pid) for pid in (await self._master.processes()).workers]
        if not workers:
            return False
        current = workers[0]
        if not self._slots:
            self._adopt(current)
        if self._short(routing, current) and await self._enlarge(routing):
            return False
        arms, maps = self._arms(routing), self._maps(routing)
        self._revisions = {backend: arm.revision for backend, arm in arms.items()}
        told = [await self._tell(worker, arms, maps) for worker in workers]
        self._write(routing)
        self.current = current if not any(told) else await self._look(current.pid)
        return not told[0]

    async def observe(self) -> bool:
        """Look what HAProxy does, and change nothing; return whether it serves models, as an agent before us told it.

        Raises:
            HaproxyError: It does not answer.
        """
        pids = await self.workers()
        found = await self._look(pids[0]) if pids else None
        self.current = found if found is not None and found.maps["routes.map"] else None
        return self.current is not None

    def route(self, key: tuple[str, str]) -> dict[str, Any] | None:
        """Return what HAProxy really does with an LLMRoute now, as of the last look; None where it does nothing."""
        model = next((model for model in self._routing.models.values() if model.route == key), None)
        if model is None or self.current is None:
            return None
        told = self.current.maps["routes.map"].get(model.name)
        if told is None:
            return None
        slot, share = told.split(":")[:2]
        arms = (model.stable, model.canary) if model.canary.revision else (model.stable,)
        weights = (WHOLE - int(share), int(share))
        return {
            "model": model.name,
            "arms": [
                {"revision": arm.revision, "share": weights[side] / WHOLE, **_counted(self.current, f"{slot}_{side}")}
                for side, arm in enumerate(arms)
            ],
        }

    def revision_of(self, backend: str) -> str:
        """Return the revision that a backend serves, empty where it serves none."""
        return self._revisions.get(backend, "")

    async def workers(self) -> tuple[int, ...]:
        """Return the pids of HAProxy's workers, the one that takes new requests first.

        Raises:
            HaproxyError: It does not answer.
        """
        return (await self._master.processes()).workers

    async def held(self) -> dict[str, int]:
        """Return how many requests wait for the first engine of each model, in all workers.

        Raises:
            HaproxyError: It does not answer.
        """
        counts: Counter[str] = Counter()
        for pid in await self.workers():
            for line in (await self._master.ask(pid, "show held")).splitlines():
                count, _, model = line.partition(" ")
                if count.isdecimal():
                    counts[model] += int(count)
        return dict(counts)

    def _adopt(self, worker: Worker) -> None:
        """Take over how many slots HAProxy's file has: an agent that starts finds HAProxy at work."""
        sizes = {
            balance: max(size, slots_in(worker.backends, balance)) for balance, size in self._structure.sizes.items()
        }
        self._structure = replace(self._structure, sizes=sizes)
        self._slots = _slots(worker.maps["routes.map"])

    def _short(self, routing: Routing, worker: Worker) -> bool:
        """Give the models their slots; return whether some got none."""
        used = {name: slot for name, slot in self._slots.items() if name in routing.models or _holds(worker, slot)}
        seating = seat(routing.models, used, self._structure.sizes)
        self._slots = {**used, **seating.slots}
        return bool(seating.short)

    async def _enlarge(self, routing: Routing) -> bool:
        """Load a file with more slots; return whether HAProxy accepts it. A file that it refused is not tried again."""
        sizes = sizes_for(tuple(routing.models.values()), self._structure.sizes)
        structure, slots = self._structure, self._slots
        larger = replace(structure, sizes=sizes)
        if larger == self._refused:
            return False
        self._structure, self._slots = larger, {**slots, **seat(routing.models, slots, sizes).slots}
        self._write(routing)
        if await self._master.reload():
            return True
        log.error("HAProxy refuses its new file, and goes on with the one before")
        self._structure, self._slots, self._refused = structure, slots, larger
        self._write(routing)
        return False

    async def _tell(self, worker: Worker, arms: Mapping[str, Arm], maps: Mapping[str, Mapping[str, str]]) -> list[str]:
        """Give a worker the orders that it needs; return them."""
        told = orders.orders({name: arm for name, arm in arms.items() if name in worker.backends}, worker.servers)
        for name, stand in worker.maps.items():
            told += orders.map_orders(str(self._folder / name), maps[name], stand)
        if told:
            await self._master.tell(worker.pid, told)
        return told

    async def _look(self, pid: int) -> Worker:
        """Ask a worker what it does."""
        listed, maps = await self._master.ask(pid, "show backend"), await self._master.ask(pid, "show map")
        return Worker(
            pid,
            frozenset(line for line in listed.splitlines() if line and not line.startswith("#")),
            orders.servers(await self._master.ask(pid, _STAT)),
            {
                name: orders.entries(await self._master.ask(pid, f"show map {self._folder / name}"))
                for name in file.MAPS
                if f"({self._folder / name})" in maps
            },
        )

    def _write(self, routing: Routing) -> None:
        """Write the files, unless they are as they should be."""
        wanted = (self._structure, routing, self._slots)
        if wanted == self._written:
            return
        for tenant in routing.tenants or ():
            seen = (model for model in routing.models.values() if tenant.may_call(model.name))
            file.put(self._folder / "models" / f"{tenant.name}.json", file.listing(seen))
        if routing.tenants is None:
            file.put(self._folder / "models" / ".json", file.listing(routing.models.values()))
        for name, entries in self._maps(routing).items():
            file.put(self._folder / name, file.map_text(entries))
        file.put(self._folder / file.NAME, file.rendered(self._structure, self._arms(routing), self._folder))
        self._written = wanted

    def _arms(self, routing: Routing) -> dict[str, Arm]:
        return {
            slot.backend(side): arm
            for name, slot in self._slots.items()
            if (model := routing.models.get(name)) is not None
            for side, arm in enumerate((model.stable, model.canary))
        }

    def _maps(self, routing: Routing) -> dict[str, Mapping[str, str]]:
        tenants = routing.tenants or ()
        return {
            "routes.map": {
                name: _route(model, self._slots[name]) for name, model in routing.models.items() if name in self._slots
            },
            "keys.map": {key: tenant.name for tenant in tenants for key in tenant.keys},
            "limits.map": {
                tenant.name: f"{tenant.per_minute}:{tenant.at_once}:{_wait_s(tenant)}"
                for tenant in tenants
                if tenant.per_minute or tenant.at_once
            },
            "all.map": {tenant.name: "1" for tenant in tenants if tenant.models is None},
            "grants.map": {f"{tenant.name}/{model}": "1" for tenant in tenants for model in tenant.models or ()},
        }


def _wait_s(tenant: Tenant) -> int:
    """Return after how many seconds a tenant that is over its rate may call again."""
    return math.ceil(60 / tenant.per_minute) if tenant.per_minute else 1


def _counted(worker: Worker, backend: str) -> dict[str, int]:
    """Count the engines of a backend: those there are, and those that get requests."""
    servers = worker.servers.get(backend, {}).values()
    return {"engines": len(servers), "up": sum(server.status.startswith("UP") for server in servers)}


def _route(model: Model, slot: Slot) -> str:
    return f"{slot.name}:{model.share}:{int(model.hold_s * 1000)}:{model.hold_most}"


def _slots(routes: Mapping[str, str]) -> Mapping[str, Slot]:
    """Return who sits where, as the routes of a worker say: an agent that starts finds HAProxy at work."""
    return MappingProxyType({name: Slot.named(value.partition(":")[0]) for name, value in routes.items()})


def _holds(worker: Worker, slot: Slot) -> bool:
    """Say whether servers are left in a slot."""
    return any(worker.servers.get(slot.backend(side)) for side in (0, 1))
