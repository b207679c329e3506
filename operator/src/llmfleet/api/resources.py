"""``spec.resources``: what one replica needs from a node."""

from typing import Annotated, Final

from pydantic import Field

from llmfleet.api.markers import matches
from llmfleet.api.part import Part
from llmfleet.api.references import DOMAIN, LABEL_VALUE
from llmfleet.api.units import Memory, Quantity

DEFAULT_GPU_RESOURCE: Final = "nvidia.com/gpu"


class Gpu(Part):
    """GPUs of one replica."""

    count: int | None = Field(
        None,
        description="GPUs of one replica; 0 runs the engine on CPUs. Default: tensorParallelSize x "
        "pipelineParallelSize.",
        ge=0,
        le=64,
    )
    resource_name: (
        Annotated[
            str,
            Field(max_length=253),
            matches(
                f"^{DOMAIN}/{LABEL_VALUE}$", "must be a resource with the domain of its vendor, such as nvidia.com/gpu"
            ),
        ]
        | None
    ) = Field(None, description="Extended resource that counts GPUs on the nodes. Default: nvidia.com/gpu.")
    product: (
        Annotated[
            str,
            Field(max_length=63),
            matches(f"^{LABEL_VALUE}$", "must be the value of a node label, such as NVIDIA-A100-SXM4-80GB"),
        ]
        | None
    ) = Field(
        None,
        description="GPU model, as in the node label nvidia.com/gpu.product, such as NVIDIA-A100-SXM4-80GB.",
    )


class Resources(Part):
    """What one replica requests; GPUs and memory are limits as well, CPU is not."""

    gpu: Gpu | None = Field(None, description="GPUs: how many and of which kind.")
    cpu: Quantity | None = Field(None, description="CPU requested, in cores such as 8 or 500m. Default: 1.")
    memory: Memory | None = Field(
        None,
        description="Memory requested, also the limit, such as 64Gi; without a unit, bytes. Default: none asked for.",
    )
    shared_memory: Memory | None = Field(
        None,
        description="Size of /dev/shm, which counts as memory. Default: 2Gi.",
    )

    @property
    def gpu_resource(self) -> str:
        """Name of the extended resource that counts the GPUs."""
        return (self.gpu.resource_name if self.gpu else None) or DEFAULT_GPU_RESOURCE
