"""Which field of a spec helps against a problem that its words name."""

from llmfleet.api.deployment import Spec
from llmfleet.api.reasons import Reason
from llmfleet.decide.missing import unbound


def remedy(spec: Spec, reason: Reason, said: str) -> str:
    """Return a clause with the field and what to do, empty where only whoever reads the words can tell."""
    if reason is Reason.UNSCHEDULABLE:
        return unbound(spec, said)
    if reason is Reason.IMAGE_PULL_FAILED:
        names = "spec.engine.image names it" if spec.engine.image else "spec.engine.image can name another one"
        return f"{names}, spec.podTemplate.imagePullSecrets what its registry asks for"
    if reason is Reason.ENGINE_FAILED and "unrecognized arguments" in said:
        return "correct spec.engine.args"
    if reason is Reason.ENGINE_FAILED and ("the kernel killed" in said or "OOMKilled" in said):
        return "raise spec.resources.memory"
    if "memory limit too low" in said:
        return "raise spec.resources.memory, which is in bytes unless it has a unit such as Gi"
    return ""
