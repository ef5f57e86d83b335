"""The end of a record that came to nothing."""

from records import keep, refuse_if_told


def run(deployment_id: str, rollback: bool) -> None:
    refuse_if_told("cleanup", deployment_id)
    keep(deployment_id, cleaned={"rollback": rollback})
