"""llmfleet: a Kubernetes operator for fleets of LLM engines."""
