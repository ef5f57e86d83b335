"""The audit trails of a store, verified."""

from sagabus.app.audit import Audit
from sagabus.ports import Store


async def check_trails(store: Store) -> None:
    """Nothing in what is stored is other than it was stored, in whatever order owners died."""
    audit = Audit(store.trail, store)
    ids = await audit.instances("", 500)
    assert ids
    for each in ids:
        verdict = await audit.verify(each)
        assert verdict.fault is None, f"{each}: {verdict.fault}"
    assert (await audit.verify_entries()).fault is None
