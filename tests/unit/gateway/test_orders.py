"""Orders to a worker, given to a model of HAProxy that does what they say, or does not."""

import re

from hypothesis import given
from hypothesis import strategies as st

from llmfleet.gateway.haproxy.orders import Server, entries, map_orders, orders, servers
from llmfleet.gateway.routing import Arm, Engine

engines = st.builds(
    Engine,
    uid=st.sampled_from([f"uid-{number}" for number in range(6)]),
    address=st.sampled_from(["10.0.0.1", "10.0.0.2"]),
    port=st.just(8000),
    leaving=st.booleans(),
)
arms = st.builds(
    Arm,
    revision=st.just("one"),
    engines=st.lists(engines, max_size=5, unique_by=lambda engine: engine.uid).map(tuple),
    at_once=st.sampled_from([1, 16]),
)
backends = st.dictionaries(st.sampled_from(["l0_0", "l0_1", "l1_0"]), arms)


class Haproxy:
    """What `add server` and its kin do, as far as the tests need it."""

    def __init__(self) -> None:
        self.stand: dict[str, dict[str, Server]] = {}

    def obey(self, order: str) -> None:
        words = order.split()
        if words[0] == "enable":
            return
        backend, _, name = words[2].partition("/")
        here = self.stand.setdefault(backend, {})
        if words[:2] == ["add", "server"]:
            assert name not in here
            limit = int(words[words.index("maxconn") + 1])
            here[name] = Server(name, int(words[words.index("id") + 1]), words[3], limit, "MAINT", 0)
        elif words[:2] == ["del", "server"]:
            assert here[name].resting, "HAProxy refuses to delete what is in service"
            del here[name]
        elif words[3] == "state":
            status = {"ready": "UP", "drain": "DRAIN", "maint": "MAINT"}[words[4]]
            here[name] = Server(name, here[name].id, here[name].address, here[name].at_once, status, 0)
        elif words[3] == "addr":
            address = f"{words[4]}:{words[6]}"
            here[name] = Server(name, here[name].id, address, here[name].at_once, here[name].status, 0)
        elif words[3] == "maxconn":
            here[name] = Server(name, here[name].id, here[name].address, int(words[4]), here[name].status, 0)
        else:
            assert words[3:] == ["health", "up"]


@given(st.lists(backends, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_whatever_was_before_and_whatever_is_lost_it_ends_as_wanted(wanted: list, random: object) -> None:
    haproxy = Haproxy()
    for now in wanted:
        for order in orders(now, haproxy.stand):
            if random.random() < 0.7:  # type: ignore[attr-defined]
                try:
                    haproxy.obey(order)
                except (KeyError, AssertionError):
                    continue  # an order before it was lost
        for order in orders(now, haproxy.stand):
            haproxy.obey(order)
        for order in orders(now, haproxy.stand):
            haproxy.obey(order)
        assert orders(now, haproxy.stand) == []
    final = {
        backend: {
            (f"e{engine.id}", f"{engine.address}:8000", arm.at_once, "DRAIN" if engine.leaving else "UP")
            for engine in arm.engines
        }
        for backend, arm in wanted[-1].items()
    }
    for backend, there in haproxy.stand.items():
        assert {(s.name, s.address, s.at_once, s.status) for s in there.values()} == final.get(backend, set())


def test_a_server_that_is_in_use_is_taken_out_but_not_deleted() -> None:
    busy = Server("e1", 1, "10.0.0.1:8000", 0, "UP", 3)
    assert orders({}, {"l0_0": {"e1": busy}}) == ["set server l0_0/e1 state maint"]


def test_an_engine_that_joins_is_believed_at_once_and_one_that_leaves_gets_nothing() -> None:
    engine = Engine("uid", "10.0.0.1", 8000, leaving=True)
    told = orders({"l0_0": Arm("one", (engine,))}, {})
    assert told[0].startswith(f"add server l0_0/e{engine.id} 10.0.0.1:8000 id {engine.id} check")
    assert told[-2:] == [f"set server l0_0/e{engine.id} health up", f"set server l0_0/e{engine.id} state drain"]


texts = st.dictionaries(st.from_regex(r"[a-z/]{1,8}", fullmatch=True), st.from_regex(r"[a-z0-9:]{1,8}", fullmatch=True))


@given(texts, texts)
def test_a_map_becomes_as_wanted_and_loses_no_entry_on_the_way(before: dict[str, str], after: dict[str, str]) -> None:
    now = dict(before)
    for order in map_orders("/run/a.map", after, before):
        verb, key, value = re.fullmatch(r"(add|set|del) map /run/a.map (\S+) ?(\S*)", order).groups()  # type: ignore[union-attr]
        if verb == "del":
            del now[key]
        else:
            now[key] = value
        assert now.keys() >= before.keys() & after.keys()
    assert now == after
    shown = "".join(f"0x{number:x} {key} {value}\n" for number, (key, value) in enumerate(after.items()))
    assert entries(shown) == after


def test_what_haproxy_tells_is_read() -> None:
    header = "# pxname,svname,qcur,qmax,scur,smax,slim,status,weight,sid,addr,\n"
    stat = header + "l0_0,e7,1,1,2,5,16,UP 1/3,100,7,10.0.0.1:8000,\nl0_0,e8,0,0,0,0,,MAINT,100,8,10.0.0.2:8000,\n"
    assert servers(stat) == {
        "l0_0": {
            "e7": Server("e7", 7, "10.0.0.1:8000", 16, "UP 1/3", 3),
            "e8": Server("e8", 8, "10.0.0.2:8000", 0, "MAINT", 0),
        }
    }
