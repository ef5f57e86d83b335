"""The consumer of a partition's owner: ``p<partition>-e<epoch>``, one per partition at a time.

With the epoch in its name an old owner's acknowledgement is void: its consumer is no more.
"""

import re

from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import BadRequestError, NotFoundError

from sagabus.adapters.nats_connection import NatsConnection, translated
from sagabus.adapters.nats_streams import consumer_names, inbox_filter
from sagabus.errors import PartitionLostError
from sagabus_agents.wire import STREAM_INBOX

#: Longer than a batch takes; what is held longer than this comes again and is ignored.
_ACK_WAIT_S = 30.0
_NAME = re.compile(r"p(\d+)-e(\d+)")
_TRIES = 5


def consumer_config(partition: int, epoch: int) -> ConsumerConfig:
    """The consumer of one owner of a partition."""
    return ConsumerConfig(
        durable_name=f"p{partition}-e{epoch}",
        filter_subject=inbox_filter(partition),
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=_ACK_WAIT_S,
        max_deliver=-1,
        max_ack_pending=-1,
    )


async def take_consumer(connection: NatsConnection, partition: int, epoch: int) -> ConsumerConfig:
    """Delete the consumers of the partition's older owners and create the one of this epoch.

    Raises:
        PartitionLostError: there is a newer owner.
        BusUnavailableError: the bus is away, or the stream is missing.
    """
    config = consumer_config(partition, epoch)
    with translated(f"open the inbox of partition {partition}"):
        for left in reversed(range(_TRIES)):
            await _delete_older(connection, partition, epoch)
            try:
                await connection.jetstream.add_consumer(STREAM_INBOX, config)
                break
            except BadRequestError:
                # An older owner has just renewed its consumer; the server wants one per filter.
                if not left:
                    raise
    return config


async def _delete_older(connection: NatsConnection, partition: int, epoch: int) -> None:
    for name in await consumer_names(connection, STREAM_INBOX):
        match = _NAME.fullmatch(name)
        if match is None or int(match[1]) != partition:
            continue
        if int(match[2]) > epoch:
            raise PartitionLostError(
                f"partition {partition} is read under epoch {match[2]}, newer than {epoch}",
                partition=partition,
            )
        try:
            await connection.jetstream.delete_consumer(STREAM_INBOX, name)
        except NotFoundError:
            continue
