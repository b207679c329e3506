"""The launcher inside llmfleet engine images."""
