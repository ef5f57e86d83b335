"""sagabus: durable workflows and sagas across processes, on NATS and SurrealDB."""
