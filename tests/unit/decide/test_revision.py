import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmfleet.decide.revision import forgotten, revision_hash
from tests.unit.worlds import stored_spec

RESTARTS = [
    {"model": {"source": "hf://org/two"}},
    {"model": {"source": "hf://org/one", "name": "other"}},
    {"engine": {"maxModelLen": 8192}},
    {"engine": {"args": ["--seed=1"]}},
    {"resources": {"gpu": {"count": 0}}},
    {"resources": {"memory": "64Gi"}},
    {"podTemplate": {"nodeSelector": {"pool": "a"}}},
]
DOES_NOT_RESTART = [
    {"replicas": 7},
    {"startup": {"deadline": "1h"}},
    {"drain": {"timeout": "1m"}},
    {"disruption": {"maxUnavailable": 2}},
    {"rollout": {"retainStable": "1m"}},
    {"revisionHistoryLimit": 1},
    {"aFieldOfTomorrow": {"x": 1}},
]


@pytest.mark.parametrize("change", RESTARTS, ids=str)
def test_a_change_that_must_restart_an_engine_makes_a_new_revision(change: dict) -> None:
    assert revision_hash({**stored_spec(), **change}) != revision_hash(stored_spec())


@pytest.mark.parametrize("change", DOES_NOT_RESTART, ids=str)
def test_a_change_of_policy_keeps_the_revision(change: dict) -> None:
    assert revision_hash({**stored_spec(), **change}) == revision_hash(stored_spec())


@pytest.mark.parametrize(
    "nothing",
    [{"engine": {}}, {"engine": {"args": []}}, {"podTemplate": {"labels": {}}}, {"resources": {"gpu": {}}}],
    ids=str,
)
def test_saying_nothing_and_not_saying_it_are_the_same(nothing: dict) -> None:
    assert revision_hash({**stored_spec(), **nothing}) == revision_hash(stored_spec())


@pytest.mark.parametrize(("one", "other"), [("1000m", "1"), (2, "2"), ("2048Mi", "2Gi"), ("0.5", "500m")])
def test_equal_quantities_in_other_words_keep_the_revision(one: str, other: str) -> None:
    assert revision_hash({**stored_spec(), "resources": {"memory": one}}) == revision_hash(
        {**stored_spec(), "resources": {"memory": other}}
    )


def test_the_hash_is_the_same_in_every_release() -> None:
    # A hash that changes with the operator would restart every engine of a fleet at its upgrade.
    assert revision_hash(stored_spec()) == "8d15c3e9"


@given(
    numbers=st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(1, 50), max_size=12),
    in_use=st.frozensets(st.text("abcdef", min_size=1, max_size=3), max_size=4),
    limit=st.integers(0, 6),
)
def test_history_forgets_the_oldest_idle_revisions_and_never_one_in_use(
    numbers: dict[str, int], in_use: frozenset[str], limit: int
) -> None:
    gone = forgotten(numbers, in_use, limit)
    idle = set(numbers) - in_use
    kept = idle - set(gone)
    assert set(gone) <= idle
    assert len(kept) == min(limit, len(idle))
    assert all(numbers[g] <= numbers[k] for g in gone for k in kept)
