"""What the orchestrator says about itself: logs and metrics."""
