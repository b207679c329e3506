"""A change of the spec, rolled through while clients go on asking: not one request may fail."""

from __future__ import annotations

import shlex

from tests.cluster import ClusterError
from tests.cluster.progress import PROGRESS, Step, duration
from tests.demo.load import Load
from tests.demo.model import Patience, Telling, ready, summary
from tests.demo.screen import Style, command, say, styled
from tests.demo.site import MODEL, Site, patch, polls

_MOST_S = 900.0
_AFTER_S = 5.0
"""How long the load goes on after the switch: it is the first moments of the new engine that are worth a look."""
_FIRST_SEQS = 16


def roll(site: Site, url: str) -> str:
    """Change engine.maxNumSeqs under load and wait until the new revision serves; return the way back, a command.

    Raises:
        ClusterError: The new revision did not come up, or a request failed.
    """
    engine = site.llm()["spec"].get("engine", {})
    before = engine.get("maxNumSeqs")
    # Never a value of the last minutes: its engines may still be ready, and then there is nothing to see.
    ahead = patch(maxNumSeqs=(before or _FIRST_SEQS) + 1)
    old = site.serving_revision()
    command(shlex.join(ahead))
    with PROGRESS.step("roll the change through under load", key="demo-roll", expected=60) as step, Load(url) as load:
        site.cluster.kubectl(*ahead[1:])
        _follow(site, load, step, old)
    counts = load.counts
    verdict = (
        styled("0 failed", Style.GOOD) if not counts.failures else styled(f"{len(counts.failures)} failed", Style.BAD)
    )
    slowest = duration(counts.slowest_s)
    say(f"{counts.sent} requests sent, {counts.answered} answered, {verdict}; the slowest took {slowest}")
    if counts.failures or counts.answered != counts.sent:
        raise ClusterError("requests failed while the change was rolled through:\n" + "\n".join(counts.failures[:5]))
    return shlex.join(patch(maxNumSeqs=before))


def _follow(site: Site, load: Load, step: Step, old: str) -> None:
    """Show what goes on until the new revision has served for a little while."""
    telling, patience, switched_s = Telling(step, last=summary(site.llm())), Patience(), 0.0
    for elapsed in polls(_MOST_S):
        llm, serving = site.llm(), site.serving_revision()
        if serving != old and not switched_s:
            switched_s = elapsed
            moment = f"the Service moves from {old} to {serving}, at request {load.counts.sent}"
            say(f"  {duration(elapsed):>8}  {styled(moment, Style.GOOD)}")
        telling.tell(elapsed, summary(llm))
        step.detail = f"{load.counts}. {summary(llm)}"
        if switched_s and ready(llm) and elapsed - switched_s > _AFTER_S:
            return
        patience.look(elapsed, llm)
    raise ClusterError(f"the new revision of llm/{MODEL} did not serve within {duration(_MOST_S)}")
