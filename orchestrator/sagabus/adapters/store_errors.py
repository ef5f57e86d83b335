"""The refusals of a change, in the same words from every store."""

from sagabus.errors import ConflictError, PartitionLostError, VersionConflictError


def partition_lost(partition: int) -> PartitionLostError:
    """Another owner, or another batch of the same one, is in the partition's row."""
    return PartitionLostError(
        f"partition {partition} has another owner now: nothing of this batch was stored",
        partition=partition,
    )


def version_conflict(instance_id: str) -> VersionConflictError:
    """The instance's row is not what the batch builds upon."""
    return VersionConflictError(
        f"instance {instance_id} is stored in another version: nothing of this batch was stored",
        instance_id=instance_id,
    )


def stale_workflow(name: str, version: int) -> ConflictError:
    """A registered workflow has another version than was expected; 0: it is not registered."""
    if version == 0:
        return ConflictError(f"workflow {name!r} is not registered: leave the version out")
    return ConflictError(
        f"workflow {name!r} is registered in version {version} now: read it, and change that one"
    )
