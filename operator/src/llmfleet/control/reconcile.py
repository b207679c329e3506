"""One reconcile: gather, decide, apply, summarise. Everything else in this package feeds these four lines."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from llmfleet.api.names import API_VERSION, KIND, STATUS_MANAGER
from llmfleet.api.reasons import Reason
from llmfleet.api.status import Status
from llmfleet.control.cache import Cache, Key
from llmfleet.control.executor import Executor, Outcome, Overlooked, OwnerGone, PredecessorLeaving
from llmfleet.control.logs import log_fields
from llmfleet.control.memory import Memory
from llmfleet.control.metrics import Metrics
from llmfleet.control.narration import narrate
from llmfleet.control.stall import stalled
from llmfleet.control.summary import differs_in_words_only, summarise
from llmfleet.decide.decision import decide
from llmfleet.decide.plan import Step
from llmfleet.kube.client import Client
from llmfleet.kube.errors import NotFound
from llmfleet.kube.events import Recorder, Regarding
from llmfleet.kube.resources import version_of
from llmfleet.observe.views import Refusal, Snapshot

log = logging.getLogger(__name__)

_WORDS_EVERY_S: Final = 15.0
_FOREIGN_LOOK_S: Final = 20.0
_LOOK_AGAIN_S: Final = 1.0
_MAX_DOUBLINGS: Final = 16
_WAITS_IN_SILENCE: Final = 4
"""What a deleted LLMDeployment of the same name leaves is gone within seconds; after the fourth look it is told."""


class Visit(NamedTuple):
    """How a reconcile went.

    Attributes:
        again_s: after how many seconds time alone asks for another look, None where it does not.
        refused: whether something of what the spec asks for is not accepted.
    """

    again_s: float | None = None
    refused: bool = False


class Reconciler:
    """Makes the world of one LLMDeployment as its spec says, as far as it can be done now.

    Args:
        client: writes statuses.
        cache: what is known.
        executor: writes children.
        recorder: tells people.
        metrics: counts.
        clock: the time, for decisions.
        monotonic: seconds that never go back, for pauses.
    """

    def __init__(
        self,
        client: Client,
        cache: Cache,
        executor: Executor,
        recorder: Recorder,
        metrics: Metrics,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._cache = cache
        self._executor = executor
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._memories: dict[Key, tuple[str, Memory]] = {}

    async def reconcile(self, key: Key) -> Visit:
        """Work on one LLMDeployment; return how that went and when to look again.

        Raises:
            ApiError: The API server could not be asked; try again.
        """
        snapshot = self._cache.snapshot(key)
        if snapshot is None or snapshot.deleting:
            self._memories.pop(key, None)
            return Visit()
        with log_fields(generation=snapshot.generation):
            return await self._carry_on(key, snapshot, self._memory(key, snapshot.uid), self._clock())

    async def _carry_on(self, key: Key, snapshot: Snapshot, memory: Memory, now: datetime) -> Visit:
        """Decide, apply, summarise."""
        plan = decide(replace(snapshot, relieved=memory.relieved), now)
        memory.relieved = plan.relieved
        try:
            outcome = await self._executor.carry_out(snapshot, plan, memory)
        except OwnerGone:
            self._cache.drop(key, snapshot.uid)
            return Visit()
        except Overlooked as found:
            log.info("%s", found)
            return Visit(_LOOK_AGAIN_S)
        except PredecessorLeaving as leaving:
            log.info("%s", leaving)
            again_s = min(_FOREIGN_LOOK_S, 2.0 ** min(memory.waits, _MAX_DOUBLINGS))
            memory.waits += 1
            if memory.waits < _WAITS_IN_SILENCE:
                return Visit(again_s)
            said = f"{leaving}: it goes by itself unless a finalizer holds it; look at its metadata.finalizers"
            outcome = Outcome((), Refusal(Reason.NAME_TAKEN, said), again_s)
        else:
            memory.waits = 0
        outdated = self._executor.outdated(snapshot, memory)
        status = summarise(
            snapshot, plan, outcome.refusal, outdated=outdated, now=now, done=outcome.done, altered=outcome.altered
        )
        for step in outcome.done:
            log.info("%s", step.message, extra={"reason": step.reason})
            self._metrics.writes.labels(step.reason).inc()
        wait_s = await self._tell(key, snapshot, status, memory)
        self._narrate(snapshot, outcome.done, status, now)
        look_s = min((s for s in (wait_s, plan.revisit_s, outcome.look_again_s) if s is not None), default=None)
        return Visit(look_s, refused=outcome.refusal is not None or snapshot.refusal is not None)

    def _memory(self, key: Key, uid: str) -> Memory:
        """Return what is remembered of an LLMDeployment; a new one of the same name begins with nothing."""
        known = self._memories.get(key)
        if known is None or known[0] != uid:
            known = self._memories[key] = (uid, Memory())
        return known[1]

    async def stall(self, key: Key, cause: str, *, decided: bool) -> None:
        """Say in the status that the reconcile fails, and goes on being tried.

        Args:
            key: the LLMDeployment.
            cause: what it fails with.
            decided: whether deciding and summarising work, so that the rest of the status can be kept up to date.

        Raises:
            ApiError: The status cannot be written.
        """
        snapshot, now = self._cache.snapshot(key), self._clock()
        if snapshot is None or snapshot.deleting:
            return
        refusal = Refusal(Reason.RECONCILE_FAILED, f"What the spec asks for cannot be carried out: {cause}")
        if decided:
            status = summarise(snapshot, decide(snapshot, now), refusal, outdated=False, now=now)
        else:
            status = stalled(snapshot, refusal, now)
        await self._tell(key, snapshot, status, self._memory(key, snapshot.uid))
        self._narrate(snapshot, (), status, now)

    async def _tell(self, key: Key, snapshot: Snapshot, status: Status, memory: Memory) -> float | None:
        """Write the status if it is news; other words for the same facts wait until the last ones are old enough."""
        if status == snapshot.status:
            return None
        if memory.told_at is not None and differs_in_words_only(snapshot.status, status):
            wait_s = _WORDS_EVERY_S - (self._monotonic() - memory.told_at)
            if wait_s > 0:
                return wait_s
        body = {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": snapshot.name, "namespace": snapshot.namespace, "uid": snapshot.uid},
            "status": status.model_dump(by_alias=True, exclude_none=True),
        }
        try:
            stored = await self._client.apply(body, manager=STATUS_MANAGER, subresource="status")
        except NotFound:
            self._cache.drop(key, snapshot.uid)
            return None
        memory.told_at = self._monotonic()
        self._cache.wrote_status(key, status, version_of(stored))
        state = status.state or ""
        if snapshot.status is None or snapshot.status.state != state:
            log.info("%s: %s", state, status.summary, extra={"reason": state.rpartition(": ")[2]})
        return None

    def _narrate(self, snapshot: Snapshot, done: tuple[Step, ...], status: Status, now: datetime) -> None:
        """Tell in Events what was done and what changed."""
        regarding = Regarding(API_VERSION, KIND, snapshot.namespace, snapshot.name, snapshot.uid)
        for event in narrate(snapshot, done, status):
            self._recorder.event(regarding, event.type, event.reason, event.message, now=now)
