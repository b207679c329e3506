"""What a gateway sees of the cluster, and the routing that follows from it. Pure."""

import base64
import binascii
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from pydantic import ValidationError

from llmfleet.api.names import HTTP_PORT, LABEL_NAME, LABEL_REVISION
from llmfleet.api.route import RouteArm, RouteSpec
from llmfleet.gateway.routing import WHOLE, Arm, Balance, Engine, Model, Routing, Tenant

_ROOM: Final = 1.2
"""An engine gets so much more than it runs at the same time, so that it never waits for the next request."""
_PERCENT: Final = WHOLE // 100
_ALLOWED: Final = "llmfleet.dev/models"
"""On a tenant's Secret: models that it may call, separated by spaces or commas. Without it: all."""
_PER_MINUTE: Final = "llmfleet.dev/requests-per-minute"
_AT_ONCE: Final = "llmfleet.dev/concurrent-requests"
"""On a tenant's Secret: its limits at the whole gateway. Without them, and where they are no numbers: none."""

Object = Mapping[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pod:
    """An engine's pod.

    Attributes:
        of: namespace and name of its LLMDeployment, and revision.
        serves: it answers, or did until it was told to stop.
    """

    of: tuple[str, str, str]
    engine: Engine
    serves: bool


@dataclass(frozen=True, slots=True)
class Route:
    """An LLMRoute; `spec` is None where this version cannot read it."""

    key: Key
    made: str
    spec: RouteSpec | None


def pod(obj: Object) -> Pod:
    """Return what of a pod counts."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    labels = metadata.get("labels") or {}
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or ())
    started = any(container.get("started") for container in status.get("containerStatuses") or ())
    leaving, address = "deletionTimestamp" in metadata, status.get("podIP") or ""
    return Pod(
        (metadata["namespace"], labels.get(LABEL_NAME, ""), labels.get(LABEL_REVISION, "")),
        Engine(metadata["uid"], address, HTTP_PORT, leaving),
        bool(address) and (started if leaving else ready),
    )


def route(obj: Object) -> Route:
    """Return what of an LLMRoute counts."""
    metadata = obj["metadata"]
    try:
        spec = RouteSpec.model_validate(obj.get("spec") or {})
    except ValidationError:
        spec = None
    return Route((metadata["namespace"], metadata["name"]), metadata.get("creationTimestamp") or "", spec)


def tenant(obj: Object) -> Tenant:
    """Return who calls with the keys of a Secret. Each value is a key, or `sha256:` and the hash of one."""
    metadata = obj["metadata"]
    keys = (_digest(value) for value in (obj.get("data") or {}).values())
    said = metadata.get("annotations") or {}
    models = frozenset(said[_ALLOWED].replace(",", " ").split()) if _ALLOWED in said else None
    per_minute, at_once = (int(said[name]) if said.get(name, "").isdecimal() else 0 for name in (_PER_MINUTE, _AT_ONCE))
    return Tenant(metadata["name"], frozenset(key for key in keys if key), models, per_minute, at_once)


def _digest(value: str) -> str:
    """Return the hash of a key as it stands in a Secret, empty where it is none."""
    try:
        text = base64.b64decode(value, validate=True).decode().strip()
    except (binascii.Error, UnicodeDecodeError):
        return ""
    return text.removeprefix("sha256:").lower() if text.startswith("sha256:") else _sha256(text) if text else ""


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def routing(
    gateway: str, replicas: int, routes: Iterable[Route], pods: Iterable[Pod], tenants: Iterable[Tenant] | None
) -> Routing:
    """Return what a gateway shall do.

    Where two routes have one model, the older one has it: a newcomer takes nothing away.

    Args:
        gateway: namespace/name of it.
        replicas: pods that share its requests.
        routes: all there are.
        pods: all engines there are.
        tenants: None where everybody may call.
    """
    engines: dict[tuple[str, str, str], list[Engine]] = defaultdict(list)
    for seen in pods:
        if seen.serves:
            engines[seen.of].append(seen.engine)
    models: dict[str, Model] = {}
    for found in sorted(routes, key=lambda one: (one.made, one.key)):
        if found.spec is not None and gateway in found.spec.gateways and found.spec.model not in models:
            models[found.spec.model] = _model(found.key, found.made, found.spec, engines, replicas)
    shares = None if tenants is None else tuple(_share(one, replicas) for one in sorted(tenants, key=lambda t: t.name))
    return Routing(MappingProxyType(models), shares)


def _share(tenant: Tenant, replicas: int) -> Tenant:
    """Return what one of the gateway's pods grants of a tenant's limits: its pods get about the same requests."""
    pods = max(1, replicas)
    return replace(tenant, per_minute=math.ceil(tenant.per_minute / pods), at_once=math.ceil(tenant.at_once / pods))


def _model(
    key: Key, made: str, spec: RouteSpec, engines: Mapping[tuple[str, str, str], list[Engine]], replicas: int
) -> Model:
    def arm(side: RouteArm) -> Arm:
        at_once = math.ceil(_ROOM * side.at_once / max(1, replicas)) if side.at_once else 0
        found = sorted(engines.get((*key, side.revision), ()), key=lambda engine: engine.uid)
        return Arm(side.revision, tuple(found), at_once)

    stable, *canary = spec.arms
    return Model(
        name=spec.model,
        route=key,
        stable=arm(stable),
        canary=arm(canary[0]) if canary else Arm(),
        share=canary[0].weight * _PERCENT if canary else 0,
        balance=Balance(spec.balance),
        hold_s=spec.hold_s,
        hold_most=spec.hold.most if spec.hold else 0,
        created=int(datetime.fromisoformat(made).timestamp()) if made else 0,
    )
