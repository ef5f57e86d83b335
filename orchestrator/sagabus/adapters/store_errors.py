"""The refusals of a commit, in the same words from every store."""

from sagabus.errors import PartitionLostError, VersionConflictError


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
