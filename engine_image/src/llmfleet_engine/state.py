"""What the launcher knows about its engine right now, as the probes tell it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from llmfleet_engine.gpu import Gpu
from llmfleet_engine.phases import Phase


@dataclass(slots=True)
class State:
    """The engine's state; changed by the launcher only, read by the probes."""

    phase: Phase = Phase.CHECKING
    since: datetime = field(default_factory=lambda: datetime.now(UTC))
    message: str = ""
    gpus: tuple[Gpu, ...] = ()
    started: bool = False  # ready at least once
    healthy: bool = False  # the engine's /health answered with 200 the last time
    hung: bool = False  # it has not for so long that only a restart helps

    @property
    def ready(self) -> bool:
        """Tells whether requests should come here."""
        return self.phase is Phase.READY and self.healthy

    @property
    def alive(self) -> bool:
        """Tells whether the container should be left running."""
        return self.phase is not Phase.FAILED and not self.hung

    def enter(self, phase: Phase, message: str) -> None:
        """Moves on to a phase; the message is one sentence for a person."""
        if phase is not self.phase:
            self.phase, self.since = phase, datetime.now(UTC)
        self.message = message

    def document(self) -> dict[str, object]:
        """Returns what GET /state answers."""
        return {
            "phase": self.phase.value,
            "since": self.since.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "message": self.message,
            "gpus": [{"index": gpu.index, "name": gpu.name, "memoryMiB": gpu.memory_mib} for gpu in self.gpus],
        }
