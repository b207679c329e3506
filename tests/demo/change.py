"""A change of the spec, rolled through while clients go on asking: not one request may fail."""

from __future__ import annotations

import shlex

from tests.cluster import ClusterError
from tests.cluster.progress import PROGRESS, Step, duration
from tests.demo.model import Patience, Telling, ready, summary
from tests.demo.screen import Style, command, say, say_at, styled
from tests.demo.site import MODEL, Site, patch, polls
from tests.load import Counts, Load

_MOST_S = 900.0
_AFTER_S = 5.0
"""How long the load goes on after the switch: it is the first moments of the new engine that are worth a look."""
_CLIENTS = 2
_PAUSE_S = 0.5
_FIRST_SEQS = 16


def roll(site: Site, url: str) -> str:
    """Change engine.maxNumSeqs under load and wait until the new revision serves; return the way back, a command.

    Raises:
        ClusterError: The new revision did not come up, or a request failed.
    """
    before = site.llm()["spec"].get("engine", {}).get("maxNumSeqs")
    # Never a value of the last minutes: its engines may still be ready, and then there is nothing to see.
    ahead = patch(maxNumSeqs=(before or _FIRST_SEQS) + 1)
    command(shlex.join(ahead))
    # Of the two clients one keeps its connection and the other opens one for every request.
    load = Load(url, MODEL, clients=_CLIENTS, pause_s=_PAUSE_S, keep=True)
    with PROGRESS.step("roll the change through under load", key="demo-roll", expected=60) as step, load:
        old = site.serving_revision()
        site.cluster.kubectl(*ahead[1:])
        _follow(site, load, step, old)
    _judge(load.counts)
    return shlex.join(patch(maxNumSeqs=before))


def _judge(counts: Counts) -> None:
    failed = len(counts.failures)
    say(f"{counts.sent} requests sent, {styled(f'{failed} failed', Style.BAD if failed else Style.GOOD)}")
    if failed or counts.answered != counts.sent:
        raise ClusterError("requests failed while the change was rolled through:\n" + "\n".join(counts.failures[:5]))


def _follow(site: Site, load: Load, step: Step, old: str) -> None:
    """Show what goes on until the new revision has served for a little while."""
    telling, patience, switched_s = Telling(step, last=summary(site.llm())), Patience(), 0.0
    for elapsed in polls(_MOST_S):
        llm, serving = site.llm(), site.serving_revision()
        if serving != old and not switched_s:
            switched_s = elapsed
            moment = f"the Service moves from {old} to {serving}, after {load.counts.sent} requests"
            say_at(elapsed, moment, Style.GOOD)
        telling.tell(elapsed, summary(llm))
        step.detail = f"{load.counts.sent} requests, {len(load.counts.failures)} failed. {summary(llm)}"
        if switched_s and ready(llm) and elapsed - switched_s > _AFTER_S:
            return
        patience.look(elapsed, llm)
    raise ClusterError(f"the new revision of llm/{MODEL} did not serve within {duration(_MOST_S)}")
