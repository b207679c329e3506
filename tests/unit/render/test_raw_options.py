"""What `spec.engine.args` may not hold, the launcher refuses too, and the other way round: two packages, one list."""

import pytest
from pydantic import ValidationError

from llmfleet.api.deployment import Spec
from llmfleet.api.engine import LAUNCHER_OPTIONS, TYPED_OPTIONS
from llmfleet_engine.options import IMPOSSIBLE, OWNED, UsageError, check_raw

CHOSEN_BY_HAND = {"host"}
"""The launcher lets a person choose the address to listen on; in a pod the Service must reach it."""


@pytest.mark.parametrize("option", sorted({*OWNED, *IMPOSSIBLE}))
def test_what_the_launcher_refuses_the_api_server_refuses_before(option: str) -> None:
    with pytest.raises(ValidationError):
        Spec.model_validate({"model": {"source": "hf://org/model"}, "engine": {"args": [f"{option}=x"]}})


@pytest.mark.parametrize("option", sorted({*TYPED_OPTIONS, *LAUNCHER_OPTIONS} - CHOSEN_BY_HAND))
def test_what_the_api_server_refuses_the_launcher_refuses_too(option: str) -> None:
    with pytest.raises(UsageError, match="after -- is refused"):
        check_raw([f"--{option.replace('*', 'keyfile')}=x"])
