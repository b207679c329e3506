"""What holds for every tier."""

from hypothesis import HealthCheck, settings

# Two cores shared with builds: how long one made-up example takes says nothing about the code.
settings.register_profile("llmfleet", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llmfleet")
