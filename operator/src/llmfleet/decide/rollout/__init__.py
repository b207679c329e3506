"""Which revision users reach: how a new one takes over, how the old one leaves, how a step back is made."""

from llmfleet.decide.rollout.blue_green import Roles, roles, serving

__all__ = ["Roles", "roles", "serving"]
