"""Remembers the newest version told of every name, so that what is told late changes nothing.

Late is what a watch tells of an object after a write of ours returned something newer, what two tasks tell in the
wrong order, and what a stream repeats. Versions of different names are not compared: that one name is told late says
nothing about another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

K = TypeVar("K", bound="Hashable")

_REMEMBERED_GONE = 1000


class Newest(Generic[K]):
    """See the module. Of names that are gone, the last thousand are remembered."""

    def __init__(self) -> None:
        self._there: dict[K, int] = {}
        self._gone: dict[K, int] = {}

    def put(self, key: K, version: int) -> bool:
        """Note that something is there at a version; False if something newer is known, its being gone included."""
        if version < self.told(key):
            return False
        self._gone.pop(key, None)
        self._there[key] = version
        return True

    def drop(self, key: K, version: int) -> bool:
        """Note that nothing is there at a version; False if something newer is known."""
        if version < self._there.get(key, 0):
            return False
        self._there.pop(key, None)
        self._gone[key] = version
        if len(self._gone) > _REMEMBERED_GONE:
            del self._gone[next(iter(self._gone))]
        return True

    def told(self, key: K) -> int:
        """Return the newest version told of a name, be it of its being gone; 0 where nothing is known."""
        return self._there.get(key, self._gone.get(key, 0))

    def of(self, key: K) -> int:
        """Return the version of what is there, 0 where nothing is."""
        return self._there.get(key, 0)
