"""Which field of a spec names what the cluster does not have: from the words of kubelet, scheduler or API server.

The operator may not read Secrets, ConfigMaps or claims, and need not: whoever looks for them says what is missing.
"""

import re
from collections.abc import Iterator
from typing import Final

from llmfleet.api.deployment import Spec

_WORDS: Final = (
    ("Secret", re.compile(r'secret "(?P<name>[^"]+)" not found')),
    ("Secret", re.compile(r"couldn't find key (?P<key>\S+) in Secret [^/\s]+/(?P<name>\S+)")),
    ("ConfigMap", re.compile(r'configmap "(?P<name>[^"]+)" not found')),
    ("ConfigMap", re.compile(r"couldn't find key (?P<key>\S+) in ConfigMap [^/\s]+/(?P<name>\S+)")),
    ("PersistentVolumeClaim", re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" not found')),
    ("ServiceAccount", re.compile(r'serviceaccount "(?P<name>[^"]+)" not found')),
    ("PriorityClass", re.compile(r"no PriorityClass with name (?P<name>\S+) was found")),
    ("RuntimeClass", re.compile(r'RuntimeClass "(?P<name>[^"]+)" not found')),
)
"""As Kubernetes 1.36 words it (pkg/kubelet/kubelet_pods.go, the scheduler's volumebinding, plugin/pkg/admission)."""
_VOLUMES: Final = (
    ("PersistentVolumeClaim", "persistentVolumeClaim", "claimName"),
    ("Secret", "secret", "secretName"),
    ("ConfigMap", "configMap", "name"),
)
"""Volumes that name an object: its kind, the volume's source, and where that names it."""
_UNBOUND: Final = "unbound immediate PersistentVolumeClaims"
_OF_THE_CLUSTER: Final = ("PriorityClass", "RuntimeClass")


def missing(spec: Spec, said: str) -> str:
    """Return the field that names what is said to be missing, with the remedy; empty where nothing of the spec is."""
    for kind, words in _WORDS:
        found = words.search(said)
        if found is None:
            continue
        field = next((field for field, one, name in _named(spec) if (one, name) == (kind, found["name"])), "")
        if not field:
            continue
        if key := found.groupdict().get("key"):
            return f"{field} names a key that is not there: add {key} to {kind} {found['name']}, or name another key"
        place = "the cluster" if kind in _OF_THE_CLUSTER else "this namespace"
        return f"{field} names it: create {kind} {found['name']} in {place}, or name another one"
    return ""


def unbound(spec: Spec, said: str) -> str:
    """Return what to look at where claims are said to be unbound, with the fields that name them; else nothing."""
    if _UNBOUND not in said:
        return ""
    claims = {name: field for field, kind, name in _named(spec) if kind == "PersistentVolumeClaim"}
    named = " and ".join(f"{name} ({field})" for name, field in claims.items()) or "in spec.podTemplate.volumes"
    return f"look at PersistentVolumeClaim {named}: its StorageClass must exist and offer its size and access mode"


def _named(spec: Spec) -> Iterator[tuple[str, str, str]]:
    """Yield everything that a spec names: field, kind, name."""
    model, overlay = spec.model, spec.pod_template
    if model.token_secret is not None:
        yield "spec.model.tokenSecret", "Secret", model.token_secret.name
    for variable in spec.engine.env:
        field = f"spec.engine.env[{variable.name}].valueFrom"
        if variable.value_from is not None and variable.value_from.secret_key_ref is not None:
            yield f"{field}.secretKeyRef", "Secret", variable.value_from.secret_key_ref.name
        if variable.value_from is not None and variable.value_from.config_map_key_ref is not None:
            yield f"{field}.configMapKeyRef", "ConfigMap", variable.value_from.config_map_key_ref.name
    yield from _claims(spec)
    yield from _volumes(spec)
    yield "spec.podTemplate.serviceAccountName", "ServiceAccount", overlay.service_account_name or ""
    yield "spec.podTemplate.priorityClassName", "PriorityClass", overlay.priority_class_name or ""
    yield "spec.podTemplate.runtimeClassName", "RuntimeClass", overlay.runtime_class_name or ""


def _claims(spec: Spec) -> Iterator[tuple[str, str, str]]:
    sources = {"spec.model.source": spec.model.source}
    sources |= {f"spec.model.adapters[{adapter.name}].source": adapter.source for adapter in spec.model.adapters}
    if spec.engine.speculative is not None:
        sources["spec.engine.speculative.draftModel"] = spec.engine.speculative.draft_model
    for field, source in sources.items():
        scheme, _, rest = source.partition("://")
        if scheme == "pvc":
            yield field, "PersistentVolumeClaim", rest.partition("/")[0]
    if spec.model.cache is not None and spec.model.cache.claim_name is not None:
        yield "spec.model.cache.claimName", "PersistentVolumeClaim", spec.model.cache.claim_name


def _volumes(spec: Spec) -> Iterator[tuple[str, str, str]]:
    for number, volume in enumerate(spec.pod_template.volumes):
        for kind, source, name in _VOLUMES:
            named = volume.get(source)
            if isinstance(named, dict):
                yield f"spec.podTemplate.volumes[{number}]", kind, str(named.get(name))
