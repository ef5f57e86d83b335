"""Which partition an instance belongs to: what the server's ``partition()`` computes."""

_OFFSET_BASIS = 2166136261
_PRIME = 16777619


def partition_of(instance_id: str, partitions: int) -> int:
    """FNV-1a, 32 bits, modulo ``partitions``.

    Source: nats-server, ``server/subject_transform.go``, ``getHashPartition``.
    """
    value = _OFFSET_BASIS
    for byte in instance_id.encode():
        value = ((value ^ byte) * _PRIME) & 0xFFFFFFFF
    return value % partitions
