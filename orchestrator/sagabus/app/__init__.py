"""The composition root: the only place that knows both the adapters and the runtime."""

from sagabus.app.health import VERSION, ComponentHealth, Health
from sagabus.app.orchestrator import Orchestrator, Started

__all__ = ["VERSION", "ComponentHealth", "Health", "Orchestrator", "Started"]
