"""The status of a record."""

from records import keep, refuse_if_told


def run(deployment_id: str, status: str) -> dict[str, str]:
    refuse_if_told("update", deployment_id)
    keep(deployment_id, updated=status)
    return {"status": status}
