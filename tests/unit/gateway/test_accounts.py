"""One line of HAProxy's log, read."""

import json

import pytest

from llmfleet.gateway.accounts import Accounts, parsed


def line(**changed: object) -> bytes:
    said = {
        "at": 1795298540.123,
        "tenant": "acme",
        "model": "chat",
        "backend": "l0_0",
        "engine": "e7",
        "status": 200,
        "end": "--",
        "retries": "0",
        "bytes_in": 100,
        "bytes_out": 200,
        "queue_ms": "20",
        "connect_ms": "10",
        "held_ms": "-",
        "began": "1000000",
        "sent": "1100000",
        "first": "1500000",
        "total_ms": "900",
        "stream": "1",
    }
    return json.dumps(said | changed).encode()


def test_the_time_to_the_first_token_is_the_callers_and_the_engines() -> None:
    found = parsed(line())
    assert found.user_ttft_s == pytest.approx(0.5)
    assert found.engine_ttft_s == pytest.approx(0.37)


@pytest.mark.parametrize(
    ("changed", "outcome"),
    [
        ({}, "ok"),
        ({"status": 400}, "invalid"),
        ({"status": 500}, "failed"),
        ({"status": 503, "engine": "<NOSRV>", "end": "PR"}, "refused"),
        ({"status": 200, "engine": "<NOSRV>", "end": "LR"}, "ok"),
        ({"status": 200, "end": "SD"}, "cut"),
        ({"status": 200, "end": "CD"}, "left"),
        ({"status": -1, "end": "CH"}, "left"),
        ({"status": 502, "end": "SH"}, "failed"),
    ],
)
def test_every_end_has_its_outcome(changed: dict[str, object], outcome: str) -> None:
    assert parsed(line(**changed)).outcome == outcome


def test_what_was_refused_before_has_no_times_and_no_backend() -> None:
    found = parsed(line(engine="<NOSRV>", backend="gateway", status=401, end="PR", sent="-", first="-", queue_ms="-1"))
    assert (found.backend, found.user_ttft_s, found.engine_ttft_s) == ("", None, None)


def test_retries_and_the_time_held_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    accounts = Accounts(lambda backend: {"l0_0": "one"}.get(backend, ""), echo=True)
    accounts.take(line(retries="+2", held_ms="350"))
    accounts.take(b"no line of ours")
    text = accounts.text().decode()
    assert 'llmfleet_gateway_retries_total{model="chat",revision="one",tenant="acme"} 2.0' in text
    assert 'llmfleet_gateway_held_total{model="chat",revision="one",tenant="acme"} 1.0' in text
    assert json.loads(capsys.readouterr().out)["model"] == "chat"
