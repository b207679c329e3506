"""Settings of the operator's process: one model, filled from the environment (LLMFLEET_*) and from flags."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from llmfleet.render.profiles import Images


class Settings(BaseSettings):
    """Run the operator."""

    model_config = SettingsConfigDict(
        env_prefix="LLMFLEET_",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_implicit_flags=True,
        frozen=True,
    )

    kubeconfig: Path | None = Field(
        None, description="Kubeconfig to use; without one, the cluster that the process runs in."
    )
    context: str | None = Field(None, description="Context of the kubeconfig. Default: its current one.")
    namespaces: tuple[str, ...] = Field((), description="Namespaces to look after. Default: all.")
    lease_namespace: str | None = Field(
        None, description="Namespace of the Lease that lets one replica act. Default: the operator's own."
    )
    lease_name: str = Field("llmfleet-operator", description="Name of that Lease.")
    listen_host: str = Field("0.0.0.0", description="Address of /livez, /readyz and /metrics.")  # noqa: S104 - a pod's
    listen_port: int = Field(8080, description="Port of /livez, /readyz and /metrics.", ge=0, le=65535)
    engine_image: str = Field("ghcr.io/llmfleet/engine:0.1.0", description="Image of profile vllm with GPUs.")
    engine_cpu_image: str = Field(
        "ghcr.io/llmfleet/engine-cpu:0.1.0", description="Image of profile vllm without GPUs."
    )
    simulator_image: str = Field("ghcr.io/llm-d/llm-d-inference-sim:v0.10.2", description="Image of profile sim.")
    allow_host_path: bool = Field(
        default=False, description="Let an LLMDeployment mount directories of the nodes (hostpath://, cache Node)."
    )
    workers: int = Field(32, description="LLMDeployments that are worked on at the same time.", ge=1, le=256)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severity to log.")

    @property
    def images(self) -> Images:
        """Images that the engine profiles run where a user names none."""
        return Images(engine=self.engine_image, engine_cpu=self.engine_cpu_image, simulator=self.simulator_image)
