"""Engine profiles: what the container of an engine looks like. Data, and one module each that makes the arguments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from llmfleet.api.deployment import Spec
from llmfleet.render import sim, vllm
from llmfleet.render.sources import Mounts


@dataclass(frozen=True, slots=True)
class Images:
    """Images that the profiles run where a user names none."""

    engine: str
    engine_cpu: str
    simulator: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of engine.

    Attributes:
        image: picks the image from the operator's images and the number of GPUs.
        container: makes what is the profile's own of the container: arguments, ports, probes, lifecycle, environment.
    """

    image: Callable[[Images, int], str]
    container: Callable[[str, Spec, Mounts], Mapping[str, Any]]


PROFILES: Final[Mapping[str, Profile]] = {
    "vllm": Profile(
        image=lambda images, gpus: images.engine if gpus else images.engine_cpu,
        container=vllm.container,
    ),
    "sim": Profile(image=lambda images, _: images.simulator, container=sim.container),
}
