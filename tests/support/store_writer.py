"""Writes transitions to a store until it is killed; names each on stdout once it is acknowledged.

python -m tests.support.store_writer URL
"""

import asyncio
import sys

from sagabus.adapters.package_data import data_path
from sagabus.adapters.surreal_store import SurrealStore
from tests.support.sample_rows import Owner, attempt, entry, instance


async def main(url: str) -> None:
    store = await SurrealStore.open(url, migrations=data_path("migrations"))
    owner = await Owner.of(store)
    version = 0
    while True:
        version += 1
        await owner.commit(
            *[instance(f"wf-{owner.epoch}-{n}", version) for n in range(5)],
            attempts=[(f"wf-{owner.epoch}-{n}", attempt(number=version)) for n in range(5)],
            history=[entry(f"wf-{owner.epoch}-{n}", version) for n in range(5)],
        )
        print(owner.epoch, version, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
