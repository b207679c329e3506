"""A restart on real nodes: every engine is replaced, drained, and no client notices."""

import pytest

from tests.load import Load
from tests.models import Models
from tests.nodes.test_serving import apply

pytestmark = pytest.mark.nodes


def test_no_request_fails_while_two_engines_restart(models: Models) -> None:
    apply(models, replicas=2)
    revision = models.wait_ready()["stable"]["revision"]
    before = set(models.engines())
    with Load(models.expose(), "chat") as load:
        load.wait_for_more()
        models.kubectl("annotate", "llm/chat", "llmfleet.dev/restart=now")
        models.wait(lambda: models.status().get("restart", {}).get("request") == "now", "it is acted on")
        models.wait_ready()
        # Not before the drained engines are gone has everything been met by traffic.
        models.wait(lambda: not before & set(models.engines()), "the old engines have drained", within_s=90)
        load.wait_for_more()
    assert load.counts.failures == []
    assert models.status()["stable"]["revision"] == revision
    assert len(models.engines()) == 2
