"""The audit trails of a store, verified."""

from sagabus.app.audit import Audit
from sagabus.ports import Store

#: Ids that are asked for at once.
_PAGE = 500


async def check_trails(store: Store) -> None:
    """Nothing in what is stored is other than it was stored, in whatever order owners died."""
    audit = Audit(store.trail, store)
    ids = await audit.instances("", _PAGE)
    assert ids
    while ids:
        for each in ids:
            verdict = await audit.verify(each)
            assert verdict.fault is None, f"{each}: {verdict.fault}"
        ids = await audit.instances(ids[-1], _PAGE)
    assert (await audit.verify_entries()).fault is None
