"""What llmfleet's control plane costs on a real API server, beside a bare loop that writes the same objects."""
