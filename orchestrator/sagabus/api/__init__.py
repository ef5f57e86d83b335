"""The HTTP API: the orchestrator's commands and queries, for loopback callers."""
