"""Reads what processes cost: CPU seconds and memory from /proc, requests from the operator's own metrics."""

import os
import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_WRITES: Final = frozenset({"apply", "create", "update", "patch", "delete"})
_CALL: Final = re.compile(r'^llmfleet_api_call_seconds_count\{code="[^"]*",resource="([^"]*)",verb="([^"]*)"\} (\S+)$')
_VALUE: Final = re.compile(r"^(\w+)(?:\{[^}]*\})? (\S+)$")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def memory_mib(pid: int) -> tuple[float, float]:
    """Return resident memory now and at its peak, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    now, peak = (int(fields[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    return round(now, 1), round(peak, 1)


def machine_s() -> float:
    """Return the CPU seconds that all processes of the machine have used."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    used = [int(field) for index, field in enumerate(fields[:8]) if index not in (3, 4)]
    return sum(used) / _TICKS


@dataclass(frozen=True, slots=True)
class Meter:
    """What had been used at one moment, by process name; `since` gives what was used until now."""

    pids: Mapping[str, int]
    used: Mapping[str, float]
    machine: float
    at: float

    @classmethod
    def start(cls, pids: Mapping[str, int]) -> "Meter":
        """Begin to measure processes, given their names and ids."""
        return cls(dict(pids), {name: cpu_s(pid) for name, pid in pids.items()}, machine_s(), time.monotonic())

    @property
    def wall_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.at

    def since(self) -> dict[str, float]:
        """Return CPU seconds by process since the start, and the share of the machine that went to others (0-1)."""
        own = {name: round(cpu_s(pid) - self.used[name], 2) for name, pid in self.pids.items()}
        cores = os.cpu_count() or 1
        strangers = (machine_s() - self.machine - sum(own.values())) / (self.wall_s * cores)
        return own | {"others_share": round(max(0.0, strangers), 2)}


async def requests(port: int) -> Counter[tuple[str, str]]:
    """Return how many calls the operator has made, by verb and resource."""
    found: Counter[tuple[str, str]] = Counter()
    for line in (await scrape(port)).splitlines():
        if match := _CALL.match(line):
            found[match[2], match[1]] += int(float(match[3]))
    return found


def writes(calls: Counter[tuple[str, str]], *, events: bool = False) -> int:
    """Count writes among calls; Leases never, Events on demand."""
    left_out = {"leases"} if events else {"leases", "events"}
    return sum(number for (verb, resource), number in calls.items() if verb in _WRITES and resource not in left_out)


async def value(port: int, name: str) -> float:
    """Return the sum of a metric of the operator over its labels."""
    lines = (match for line in (await scrape(port)).splitlines() if (match := _VALUE.match(line)))
    return sum(float(match[2]) for match in lines if match[1] == name)


async def scrape(port: int) -> str:
    """Return the operator's metrics."""
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        return await answer.text()
