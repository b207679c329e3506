"""Which fixed backends of HAProxy's file serve which model.

HAProxy cannot be given a backend while it runs, so its file holds spare ones: a slot is a pair of backends, one for
each arm. A model keeps its slot, and a slot that a model left is free for another one, once its servers are gone. When
no slot is free, the file has to be written with more of them: that is a reload.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Self

from llmfleet.gateway.routing import Balance, Model

SPARE: Final = 4
"""So many slots at least are free after a reload, of each kind."""
_LEAST: Final = 8


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """A pair of backends that balance in one way."""

    balance: Balance
    number: int

    @property
    def name(self) -> str:
        """What its backends' names begin with."""
        return f"{_LETTER[self.balance]}{self.number}"

    @classmethod
    def named(cls, name: str) -> Self:
        """Return the slot of that name."""
        balance = next(balance for balance, letter in _LETTER.items() if letter == name[0])
        return cls(balance, int(name[1:]))

    def backend(self, arm: int) -> str:
        """Return the name of the backend of an arm: 0 for stable, 1 for canary."""
        return f"{self.name}_{arm}"


_LETTER: Final = {Balance.LEAST_REQUESTS: "l", Balance.ROUND_ROBIN: "r", Balance.PREFIX_HASH: "h"}


@dataclass(frozen=True, slots=True)
class Seating:
    """Who sits where.

    Attributes:
        slots: of each model that has one, by its name.
        short: models without a slot: the file needs more.
    """

    slots: Mapping[str, Slot]
    short: frozenset[str]


def seat(models: Mapping[str, Model], before: Mapping[str, Slot], sizes: Mapping[Balance, int]) -> Seating:
    """Give each model a slot of its kind, the one it had if it can keep it.

    Args:
        models: by name.
        before: slots as they were.
        sizes: slots of each kind in the file.
    """
    kept = {
        name: slot
        for name, slot in before.items()
        if name in models and models[name].balance is slot.balance and slot.number < sizes.get(slot.balance, 0)
    }
    slots, short = dict(kept), set[str]()
    taken = {*kept.values(), *before.values()}  # what was just left still holds servers of another model
    for name in sorted(models.keys() - kept.keys()):
        slot = _free(models[name].balance, sizes, taken)
        if slot is None:
            short.add(name)
        else:
            slots[name] = slot
            taken.add(slot)
    return Seating(slots, frozenset(short))


def sizes_for(models: Collection[Model], sizes: Mapping[Balance, int]) -> Mapping[Balance, int]:
    """Return how many slots of each kind the file shall have: never fewer than it had, doubled where they run short."""
    grown = {}
    for balance in Balance:
        size, needed = max(_LEAST, sizes.get(balance, 0)), sum(model.balance is balance for model in models)
        while size < needed + SPARE:
            size *= 2
        grown[balance] = size
    return grown


def slots_in(backends: Collection[str], balance: Balance) -> int:
    """Return how many slots of a kind there are among the backends of a file."""
    return sum(name[0] == _LETTER[balance] and name.endswith("_0") for name in backends)


def _free(balance: Balance, sizes: Mapping[Balance, int], taken: Collection[Slot]) -> Slot | None:
    return next(
        (slot for number in range(sizes.get(balance, 0)) if (slot := Slot(balance, number)) not in taken),
        None,
    )
