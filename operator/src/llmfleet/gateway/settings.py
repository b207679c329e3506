"""Settings of the agent's process, given by the gateway's pod."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class AgentSettings(BaseSettings):
    """Run the agent of one gateway pod."""

    model_config = SettingsConfigDict(
        env_prefix="LLMFLEET_GATEWAY_",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_implicit_flags=True,
        frozen=True,
    )

    namespace: str = Field(description="Namespace of the LLMGateway.")
    name: str = Field(description="Name of the LLMGateway.")
    replicas: int = Field(1, description="Pods that share the gateway's requests.", ge=1)
    keys: bool = Field(default=False, description="Callers need a key.")
    threads: int = Field(1, description="Threads of HAProxy.", ge=1, le=64)
    connections: int = Field(10_000, description="Most connections of callers at once.", ge=1)
    folder: Path = Field(Path("/run/llmfleet"), description="Folder that agent and HAProxy share.")
    bind: str = Field(":8080", description="Where HAProxy listens.")
    listen_host: str = Field("0.0.0.0", description="Address of /livez, /readyz, /metrics and /routes.")  # noqa: S104 - a pod's
    listen_port: int = Field(8081, description="Port of /livez, /readyz, /metrics and /routes.", ge=0, le=65535)
    kubeconfig: Path | None = Field(
        None, description="Kubeconfig to use; without one, the cluster that the process runs in."
    )
    boot: bool = Field(default=False, description="Write the files that HAProxy starts with, and end.")
    access_log: bool = Field(default=True, description="Write a line for each request to standard output.")
    log_level: str = Field("INFO", description="Least severity to log.")
