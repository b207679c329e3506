"""The phases of an engine's life, and which of them a line of vLLM's output announces. Pure."""

import enum
import re


class Phase(enum.StrEnum):
    """Where the engine stands; the order is the order of a life."""

    CHECKING = "Checking"
    STARTING = "Starting"
    LOADING_WEIGHTS = "LoadingWeights"
    COMPILING = "Compiling"
    WARMING_UP = "WarmingUp"
    READY = "Ready"
    DRAINING = "Draining"
    FAILED = "Failed"

    def before(self, other: "Phase") -> bool:
        """Tells whether this phase comes before the other one in a life."""
        order = list(Phase)
        return order.index(self) < order.index(other)


# The first line of each phase in vLLM 0.10 to 0.32; any of them will do, as a life only goes forward.
ANNOUNCEMENTS = (
    (
        Phase.WARMING_UP,
        re.compile(
            r"Available KV cache memory|KV cache size:|Capturing CUDA graphs|Graph capturing finished|Warming up"
            r"|Initial profiling/warmup|init engine \(profile, create kv cache, warmup model\)|Starting vLLM server"
        ),
    ),
    (
        Phase.COMPILING,
        re.compile(
            r"for vLLM's torch\.compile|Dynamo bytecode transform|Compiling a graph for|torch\.compile t(?:akes|ook)"
            r"|Directly load (?:the compiled graph|AOT compilation)"
        ),
    ),
    (
        Phase.LOADING_WEIGHTS,
        re.compile(
            r"Starting to load model|checkpoint shards:|downloading weights for|Loading (?:model )?weights took"
            r"|Loading weights with"
        ),
    ),
)


def announced(line: str) -> Phase | None:
    """Returns the phase a line of the engine's output belongs to, or None where it tells nothing."""
    return next((phase for phase, pattern in ANNOUNCEMENTS if pattern.search(line)), None)
