"""What is remembered of one LLMDeployment between two reconciles, only to spare work.

Losing it costs time and nothing else: everything here can be had again from the cluster.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from llmfleet.control.ledger import ChildKey, Ledger
from llmfleet.kube.ownership import applied_fields, digest


@dataclass(slots=True)
class Memory:
    """Memory of one LLMDeployment.

    Attributes:
        told_at: when its status was last written, in monotonic seconds, None before the first time.
        waits: how often in a row a name was still taken by what a deleted LLMDeployment left.
        namespace_goes: whether its namespace is being deleted, which nobody can stop: nothing can be made there.
        relieved: since when its revisions serve no more, as the last plan said.
        strays: children that should be there, but are not wanted, and were looked for in vain.
        ledger: what became of the writes of its children.
    """

    told_at: float | None = None
    waits: int = 0
    namespace_goes: bool = False
    relieved: Mapping[str, datetime] = field(default_factory=dict)
    strays: frozenset[ChildKey] = frozenset()
    ledger: Ledger = field(default_factory=Ledger)
    _digests: dict[ChildKey, tuple[Hashable, str]] = field(default_factory=dict)
    _in_place: dict[ChildKey, str] = field(default_factory=dict)
    _outdated: tuple[Hashable, bool] = ((), False)

    def knows(self, child: ChildKey) -> bool:
        """Say whether a child was made, or found in place, before."""
        return child in self._digests

    def wanted(self, child: ChildKey) -> str:
        """Return the digest of a child as it was last wanted, empty where it never was."""
        return self._digests[child][1] if child in self._digests else ""

    def digest(self, child: ChildKey, inputs: Hashable, render: Callable[[], Mapping[str, Any]]) -> str:
        """Return the digest of a child as it should be, rendered only if the inputs are not those of the last time."""
        known = self._digests.get(child)
        if known is None or known[0] != inputs:
            known = self._digests[child] = (inputs, digest(applied_fields(render())))
        return known[1]

    def in_place(self, child: ChildKey) -> str:
        """Return as what, by its digest, a child was last found or made; empty where it never was."""
        return self._in_place.get(child, "")

    def stands(self, child: ChildKey, wanted: str) -> None:
        """Note that a child is as wanted."""
        self._in_place[child] = wanted

    def forget(self, child: ChildKey) -> None:
        """Forget a child that was removed on purpose."""
        self._digests.pop(child, None)
        self._in_place.pop(child, None)
        self.ledger.forget(child)

    def outdated(self, inputs: Hashable, find_out: Callable[[], bool]) -> bool:
        """Return whether the wanted revision was made with other defaults than a new one would get."""
        if self._outdated[0] != inputs:
            self._outdated = (inputs, find_out())
        return self._outdated[1]
