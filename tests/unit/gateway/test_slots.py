"""Which backends serve which model."""

from hypothesis import given
from hypothesis import strategies as st

from llmfleet.gateway.haproxy.slots import SPARE, Slot, seat, sizes_for
from llmfleet.gateway.routing import Arm, Balance, Model

names = st.sampled_from([f"m{number}" for number in range(12)])
worlds = st.dictionaries(names, st.sampled_from(Balance), max_size=12)


def models(world: dict[str, Balance]) -> dict[str, Model]:
    return {name: Model(name, ("default", name), Arm("one"), balance=balance) for name, balance in world.items()}


@given(worlds, worlds)
def test_who_keeps_its_kind_keeps_its_slot_and_no_slot_has_two(before: dict, after: dict) -> None:
    sizes = sizes_for(list(models(before).values()), {})
    first = seat(models(before), {}, sizes)
    second = seat(models(after), first.slots, sizes)
    assert not first.short
    for name in before.keys() & after.keys():
        if before[name] is after[name]:
            assert second.slots[name] == first.slots[name]
    assert len(set(second.slots.values())) == len(second.slots)
    assert second.slots.keys() | second.short == after.keys()
    # What a model left may still hold its engines: nobody else gets it at once.
    left = {slot for name, slot in first.slots.items() if second.slots.get(name) != slot}
    assert left.isdisjoint(second.slots.values())


@given(worlds, worlds)
def test_the_file_never_shrinks_and_has_spare_slots(before: dict, after: dict) -> None:
    sizes = sizes_for(list(models(before).values()), {})
    grown = sizes_for(list(models(after).values()), sizes)
    for balance in Balance:
        assert grown[balance] >= sizes[balance]
        assert grown[balance] >= sum(kind is balance for kind in after.values()) + SPARE


def test_a_slot_is_found_again_by_its_name() -> None:
    for balance in Balance:
        assert Slot.named(Slot(balance, 12).name) == Slot(balance, 12)
