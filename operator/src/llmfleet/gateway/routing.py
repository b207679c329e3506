"""What a gateway shall do: which models it routes where. Frozen values; how HAProxy is told is not known here."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

WHOLE: Final = 10_000
"""The canary's share is counted in parts of this."""
_IDS: Final = 2**31 - 1


class Balance(StrEnum):
    """How an arm chooses among its engines."""

    LEAST_REQUESTS = "LeastRequests"
    ROUND_ROBIN = "RoundRobin"
    PREFIX_HASH = "PrefixHash"


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine.

    Attributes:
        uid: of its pod.
        address: IP address of its pod.
        port: where it serves.
        leaving: it finishes what it has and gets nothing new.
    """

    uid: str
    address: str
    port: int
    leaving: bool = False

    @property
    def id(self) -> int:
        """A number from 1 that every gateway gives this engine: consistent hashing places it by that."""
        return int.from_bytes(hashlib.blake2b(self.uid.encode(), digest_size=4).digest()) % _IDS + 1


@dataclass(frozen=True, slots=True)
class Arm:
    """The engines of one revision.

    Attributes:
        revision: its hash, empty for an arm that is not in use.
        at_once: requests that one engine takes from this gateway at the same time, 0 for no limit.
    """

    revision: str = ""
    engines: tuple[Engine, ...] = ()
    at_once: int = 0


@dataclass(frozen=True, slots=True)
class Model:
    """One served model.

    Attributes:
        name: what clients send as "model".
        route: namespace and name of its LLMRoute.
        created: when that was made, in seconds of the Unix epoch.
        stable: engines of the stable revision.
        canary: engines of the next revision.
        share: of conversations that go to the canary, in parts of `WHOLE`.
        hold_s: how long a request waits for the first engine.
        hold_most: how many requests may wait for it.
    """

    name: str
    route: tuple[str, str]
    stable: Arm
    canary: Arm = Arm()
    share: int = 0
    balance: Balance = Balance.LEAST_REQUESTS
    hold_s: float = 0.0
    hold_most: int = 0
    created: int = 0


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who calls.

    Attributes:
        name: of its Secret.
        keys: SHA-256 of each of its keys, in hexadecimal digits.
        models: which it may call, None for all.
        per_minute: requests that one gateway pod takes from it in a minute, 0 for no limit.
        at_once: requests of it that run at the same time in one gateway pod, 0 for no limit.
    """

    name: str
    keys: frozenset[str]
    models: frozenset[str] | None = None
    per_minute: int = 0
    at_once: int = 0

    def may_call(self, model: str) -> bool:
        """Say whether it may call a model."""
        return self.models is None or model in self.models


@dataclass(frozen=True, slots=True)
class Routing:
    """Everything that changes while a gateway runs.

    Attributes:
        models: by name.
        tenants: None where everybody may call.
    """

    models: Mapping[str, Model] = field(default_factory=lambda: MappingProxyType({}))
    tenants: tuple[Tenant, ...] | None = None
