"""Two operators and one Lease: one acts, the other takes over in time, and never do both write."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.api.faults.fleet import Fleet
from tests.api.faults.proxy import FaultProxy, Written
from tests.api.faults.vitals import metric, pid_of, probe, wait_for_log
from tests.operator_process import OperatorProcess
from tests.wait import eventually

pytestmark = pytest.mark.api

CRASH_S, STOP_S = 15, 3


class Pair:
    def __init__(self, proxy: FaultProxy, folder: Path) -> None:
        self.proxy = proxy
        lease = f"--lease-name=pair-{uuid4().hex[:6]}"
        self.names = [f"{which}-{uuid4().hex[:6]}" for which in ("first", "second")]
        self.first, self.second = (
            OperatorProcess(proxy.kubeconfig(name), folder / f"{name}.log", lease) for name in self.names
        )

    def start(self) -> None:
        self.first.start()
        self.second.start(wait=False)
        wait_for_log(self.second, "standing by", within_s=20)

    def writes(self, which: int) -> list[Written]:
        return self.proxy.writes(self.names[which])

    def stop(self) -> None:
        for operator in (self.first, self.second):
            if operator.running:
                operator.stop(signal.SIGKILL)


@pytest.fixture
def pair(proxy: FaultProxy, tmp_path: Path) -> Iterator[Pair]:
    made = Pair(proxy, tmp_path)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def takes_over(pair: Pair, fleet: Fleet, begin: float, within_s: float) -> tuple[float, float]:
    """Return after how long the second one leads, and after how long it has written what was asked meanwhile."""
    wait_for_log(pair.second, "leading", within_s=within_s)
    leads_s = time.monotonic() - begin
    eventually(lambda: pair.writes(1), within_s=within_s - leads_s, what="the second one writes")
    writes_s = pair.writes(1)[0].at - begin
    fleet.settle()
    return leads_s, writes_s


def test_one_acts_and_the_other_says_that_it_stands_by(pair: Pair, fleet: Fleet) -> None:
    fleet.apply("chat")
    fleet.settle()
    assert pair.writes(0)
    assert not pair.writes(1)
    for path in ("/livez", "/readyz"):
        status, text = probe(pair.second, path)
        assert (status, text.splitlines()[0]) == (200, "standby")
        status, text = probe(pair.first, path)
        assert (status, text.splitlines()[0]) == (200, "leading")
    holder = probe(pair.first, "/readyz")[1].splitlines()[1]
    assert holder.startswith("the Lease is held by: ")
    assert holder in probe(pair.second, "/readyz")[1]
    assert (metric(pair.first, "llmfleet_leading"), metric(pair.second, "llmfleet_leading")) == (1, 0)
    assert 0 < metric(pair.first, "llmfleet_lease_age_seconds") < 5


def test_a_crash_is_taken_over(pair: Pair, fleet: Fleet) -> None:
    fleet.apply("chat")
    fleet.settle()
    begin = time.monotonic()
    pair.first.stop(signal.SIGKILL)
    fleet.apply("chat", tag="2")
    leads_s, writes_s = takes_over(pair, fleet, begin, CRASH_S)
    print(f"\na crash is taken over after {leads_s:.1f} s, the first write comes after {writes_s:.1f} s")
    assert writes_s < CRASH_S


def test_a_clean_stop_is_taken_over_at_once(pair: Pair, fleet: Fleet) -> None:
    fleet.apply("chat")
    fleet.settle()
    begin = time.monotonic()
    fleet.apply("chat", tag="2", replicas=2)
    os.kill(pid_of(pair.first), signal.SIGTERM)
    leads_s, writes_s = takes_over(pair, fleet, begin, 10)
    ended_s = time.monotonic()
    assert pair.first.stop() == 0
    print(f"\na clean stop is taken over after {leads_s:.1f} s, the first write comes after {writes_s:.1f} s")
    assert leads_s < STOP_S
    assert max(write.at for write in pair.writes(0)) < min(write.at for write in pair.writes(1))
    assert time.monotonic() - ended_s < 1


def test_who_is_told_to_stop_begins_nothing_more(proxy: FaultProxy, fleet: Fleet, log: Path) -> None:
    name = f"stops-{uuid4().hex[:6]}"
    with OperatorProcess(proxy.kubeconfig(name), log, f"--lease-name={name}") as operator:
        # Events too: whoever waits for the last of them goes on meanwhile, unless told otherwise.
        with proxy.slow(0.3, only=lambda asked: asked.write and not asked.lease):
            for number in range(20):
                fleet.apply(f"many{number}")
            eventually(lambda: len(proxy.writes(name)) > 50, within_s=20, what="it is in the middle of its work")
            stopped, lines = time.monotonic(), len(operator.lines())
            assert operator.stop() == 0
        late = [f"{write.asked} after {write.at - stopped:.2f} s" for write in proxy.writes(name, since=stopped + 0.2)]
        assert late == []
        noise = [line for line in operator.lines()[lines:] if line["level"] not in ("INFO", "DEBUG")]
        assert noise == []
        assert len(proxy.writes(name)) < 20 * 5, "there was nothing left to do: this shows nothing"


def test_a_leader_that_stood_still_writes_nothing_when_it_wakes(pair: Pair, fleet: Fleet) -> None:
    """Stopped in the middle of its work, with writes to come, and woken when another one leads."""
    fleet.apply("chat")
    fleet.settle()
    names = [f"many{number}" for number in range(40)]
    begin = len(pair.writes(0))
    for name in names:
        fleet.apply(name)
    eventually(
        lambda: len(pair.writes(0)) > begin + 20, within_s=10, what="it is in the middle of its work", every_s=0.005
    )
    os.kill(pid_of(pair.first), signal.SIGSTOP)
    wait_for_log(pair.second, "leading", within_s=CRASH_S)
    eventually(lambda: pair.writes(1), within_s=10, what="the second one writes")
    woken, told = time.monotonic(), len(pair.first.lines())
    os.kill(pid_of(pair.first), signal.SIGCONT)
    wait_for_log(pair.first, "the Lease is lost", within_s=30, after=told)
    # From here on it is a new process, which may lead again some day.
    ended = time.monotonic()
    late = [str(write.asked) for write in pair.writes(0) if woken <= write.at < ended]
    assert late == []
    assert "nothing is written" in pair.first.log.read_text(), "it had nothing to write: this shows nothing"
    wait_for_log(pair.first, "standing by", within_s=60, after=told)
    fleet.settle(60)
