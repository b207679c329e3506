"""HAProxy's file and the maps beside it, written whole: HAProxy starts from them, with or without the agent."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from llmfleet.gateway.haproxy.orders import server_line
from llmfleet.gateway.haproxy.slots import Slot
from llmfleet.gateway.routing import WHOLE, Arm, Balance, Model

NAME: Final = "haproxy.cfg"
SCRIPT: Final = "gateway.lua"
MAPS: Final = ("routes.map", "keys.map", "limits.map", "all.map", "grants.map")

_TEMPLATES: Final = Environment(
    loader=PackageLoader("llmfleet.gateway.haproxy", "."),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - it is no HTML; what people write into objects goes into maps, never into the file
)


@dataclass(frozen=True, slots=True)
class Structure:
    """What only a reload can change.

    Attributes:
        bind: where HAProxy listens, as its `bind` takes it.
        keys: whether callers need a key.
        sizes: slots of each kind.
        threads: of HAProxy.
        connections: most connections of callers at once.
        buffer_bytes: of a request that are looked at, for its model and its conversation.
        body_bytes: largest body.
        queue_s: how long a request waits for a free place at an engine.
        idle_s: how long caller or engine may say nothing.
        drain_s: how long a worker that was replaced may finish what it has.
    """

    bind: str
    keys: bool
    sizes: Mapping[Balance, int]
    threads: int = 1
    connections: int = 10_000
    buffer_bytes: int = 65_536
    body_bytes: int = 10_485_760
    queue_s: int = 60
    idle_s: int = 600
    drain_s: int = 900


def rendered(structure: Structure, arms: Mapping[str, Arm], folder: Path) -> str:
    """Return the file.

    Args:
        structure: what it fixes.
        arms: engines by backend.
        folder: where it and the maps lie, on HAProxy's side.
    """
    backends: list[dict[str, object]] = [
        {
            "name": name,
            "balance": str(balance),
            "servers": [server_line(engine, arm.at_once) for engine in arm.engines],
        }
        for balance, size in structure.sizes.items()
        for number in range(size)
        for name in (Slot(balance, number).backend(side) for side in (0, 1))
        for arm in (arms.get(name, Arm()),)
    ]
    template = _TEMPLATES.get_template("haproxy.cfg.j2")
    return template.render(file=_Fields(structure, backends), folder=str(folder), whole=WHOLE)


class _Fields:
    """The structure with its backends, as the template names them."""

    def __init__(self, structure: Structure, backends: list[dict[str, object]]) -> None:
        self._structure = structure
        self.backends = backends

    def __getattr__(self, name: str) -> object:
        return getattr(self._structure, name)


def map_text(entries: Mapping[str, str]) -> str:
    """Return the text of a map."""
    return "".join(f"{key} {value}\n" for key, value in sorted(entries.items()))


def listing(models: Iterable[Model]) -> str:
    """Return models as GET /v1/models answers."""
    data = [
        {"id": model.name, "object": "model", "created": model.created, "owned_by": "llmfleet"}
        for model in sorted(models, key=lambda model: model.name)
    ]
    return json.dumps({"object": "list", "data": data})


def script() -> str:
    """Return the Lua that the file loads."""
    return files("llmfleet.gateway.haproxy").joinpath(SCRIPT).read_text()


def put(path: Path, text: str) -> bool:
    """Write a file, whole or not at all; return whether it differs from what was there."""
    if path.exists() and path.read_text() == text:
        return False
    path.parent.mkdir(exist_ok=True)
    draft = path.with_name(f".{path.name}")
    draft.write_text(text)
    draft.replace(path)
    return True
