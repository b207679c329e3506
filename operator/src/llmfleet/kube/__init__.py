"""Access to the Kubernetes API server: session, client, reflector, Lease, Events and field ownership.

This layer knows Kubernetes and nothing of llmfleet's decisions. It depends on aiohttp and PyYAML only.
"""
