"""What this operator does not accept though the API server does, because only its settings can tell."""

from llmfleet.api.deployment import Spec
from llmfleet.api.reasons import Reason
from llmfleet.observe.views import Refusal
from llmfleet.render.sources import uses_host_path


def refuse(spec: Spec, *, allow_host_path: bool) -> Refusal | None:
    """Say why a spec is not accepted, with the field and the remedy, or return None."""
    if allow_host_path:
        return None
    sources = {
        "spec.model.source": spec.model.source,
        **{f"spec.model.adapters[{adapter.name}].source": adapter.source for adapter in spec.model.adapters},
    }
    if spec.engine.speculative is not None:
        sources["spec.engine.speculative.draftModel"] = spec.engine.speculative.draft_model
    fields = [field for field, source in sources.items() if uses_host_path(source)]
    if spec.model.cache is not None and spec.model.cache.kind == "Node":
        fields.append("spec.model.cache")
    if any("hostPath" in volume for volume in spec.pod_template.volumes):
        fields.append("spec.podTemplate.volumes")
    if not fields:
        return None
    return Refusal(
        Reason.HOST_PATH_NOT_ALLOWED,
        f"{fields[0]} mounts a directory of the node, which this operator does not allow: use pvc://claim/path or "
        "hf://org/repo, or start the operator with LLMFLEET_ALLOW_HOST_PATH=true (chart: allowHostPath)",
    )
