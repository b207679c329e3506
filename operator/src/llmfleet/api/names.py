"""Names that other software relies on: group, labels, annotations, field managers, ports.

Each is load-bearing: selectors are immutable and field managers own fields, so none of them may ever change.
"""

from typing import Final

GROUP: Final = "llmfleet.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "LLMDeployment"
PLURAL: Final = "llmdeployments"
ROUTE_KIND: Final = "LLMRoute"
ROUTE_PLURAL: Final = "llmroutes"

LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
LABEL_APP: Final = "app.kubernetes.io/name"
LABEL_NAME: Final = f"{GROUP}/name"
LABEL_REVISION: Final = f"{GROUP}/revision"
MANAGED_BY: Final = "llmfleet"
APP: Final = "llmfleet-engine"

ANNOTATION_RESTART: Final = f"{GROUP}/restart"
"""On an LLMDeployment: any new value restarts the engines that serve. On a Deployment: the value it last answered."""
ANNOTATION_RESTARTED_AT: Final = f"{GROUP}/restarted-at"
"""On the template of a Deployment's pods: when they were restarted (RFC 3339, UTC)."""
ANNOTATION_PAUSE: Final = f"{GROUP}/pause"
"""On an LLMDeployment: leave it alone; the value is the reason for people, "false" and nothing mean no pause."""
ANNOTATION_RETIRED_AT: Final = f"{GROUP}/retired-at"
"""On a Deployment that serves no more: when it was relieved (RFC 3339, UTC)."""

MANAGER: Final = "llmfleet"
"""Field manager of every child object."""
STATUS_MANAGER: Final = "llmfleet-status"
"""Field manager of the status of the kinds of this group."""

CONTAINER: Final = "engine"
HTTP_PORT: Final = 8000
"""Where the engine answers requests, in the pod and on the Service."""
PROBE_PORT: Final = 8001
"""Where the launcher answers probes; engines without a launcher have no such port."""
