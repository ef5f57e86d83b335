"""What every key-value store promises, checked on the one in memory and the one in the database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio

from sagabus.adapters.memory_kv import MemoryKeyValues
from sagabus.adapters.package_data import data_path
from sagabus.adapters.secret_box import SecretBox
from sagabus.adapters.surreal_kv import SurrealKeyValues
from sagabus.adapters.surreal_store import SurrealStore
from sagabus.core.kv import Mark
from sagabus.errors import ConflictError, InvalidRequestError
from sagabus.ports import KeyValues

KEY = bytes(range(32))


#: One database for all: to open and close it takes longer than any of the tests.
pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def store() -> AsyncIterator[SurrealStore]:
    store = await SurrealStore.open("mem://", migrations=data_path("migrations"))
    yield store
    await store.close()


@pytest_asyncio.fixture(loop_scope="module", params=["memory", "embedded"])
async def kv(request: pytest.FixtureRequest, store: SurrealStore) -> KeyValues:
    if request.param == "memory":
        return MemoryKeyValues(SecretBox(KEY))
    await store.connection.run("DELETE key_value;")
    return SurrealKeyValues(store.connection, SecretBox(KEY))


@pytest.mark.parametrize(
    "value", [None, True, 0, -1.5, "", "é\n\x00", [], {}, {"a": [1, None, {"b": 2**53}]}, 2**63 - 1]
)
async def test_a_value_comes_back_as_it_was(kv: KeyValues, value: object) -> None:
    await kv.set("a.b", value)
    found = await kv.get("a.b")
    assert found is not None
    assert found.value == value
    assert type(found.value) is type(value)
    assert not found.is_secret
    assert abs(found.updated_at - datetime.now(UTC)) < timedelta(minutes=1)


async def test_the_last_value_stands(kv: KeyValues) -> None:
    await kv.set("a", 1)
    await kv.set("a", 2)
    assert await kv.get_many(["a"]) == {"a": 2}


async def test_a_key_that_was_never_set_is_not_there(kv: KeyValues) -> None:
    assert await kv.get("a") is None
    assert await kv.get_many(["a"]) == {}
    assert await kv.get_many([]) == {}
    assert await kv.reveal("a") is None
    assert not await kv.delete("a")


async def test_many_are_read_at_once_and_what_is_no_key_does_not_exist(kv: KeyValues) -> None:
    await kv.set("a", 1)
    await kv.set("b", None)
    assert await kv.get_many(["a", "b", "c", "no key", ""]) == {"a": 1, "b": None}


async def test_a_deleted_key_is_gone(kv: KeyValues) -> None:
    await kv.set("a", 1)
    assert await kv.delete("a")
    assert await kv.get("a") is None
    assert not await kv.delete("a")


async def test_a_secret_is_shown_by_nothing_but_reveal(kv: KeyValues) -> None:
    await kv.set_secret("a", "s3cret-é")
    found = await kv.get("a")
    assert found is not None
    assert (found.value, found.is_secret) == (None, True)
    assert (await kv.get_many(["a"]))["a"] is Mark.SECRET
    [item] = (await kv.list()).items
    assert (item.value, item.is_secret) == (None, True)
    assert await kv.reveal("a") == "s3cret-é"


async def test_a_value_is_no_secret(kv: KeyValues) -> None:
    await kv.set("a", "plain")
    assert await kv.reveal("a") is None


async def test_a_secret_and_a_value_replace_each_other(kv: KeyValues) -> None:
    await kv.set("a", "plain")
    await kv.set_secret("a", "hidden")
    assert await kv.reveal("a") == "hidden"
    await kv.set("a", "plain")
    assert await kv.reveal("a") is None
    assert await kv.get_many(["a"]) == {"a": "plain"}


@pytest.mark.parametrize("key", ["", "a b", "ä", "a" * 201, "a\n", "a\x00", "a'b", "a`b", "{{x}}"])
async def test_what_cannot_be_a_key_is_refused(kv: KeyValues, key: str) -> None:
    for call in (kv.get(key), kv.set(key, 1), kv.set_secret(key, "x"), kv.delete(key)):
        with pytest.raises(InvalidRequestError, match="is no key"):
            await call
    with pytest.raises(InvalidRequestError, match="is no key"):
        await kv.reveal(key)


@pytest.mark.parametrize("key", ["a", "A9_.:/-", "..", "/", "a" * 200, "a/b:c.d-e_f"])
async def test_every_key_of_the_pattern_can_be_used(kv: KeyValues, key: str) -> None:
    await kv.set(key, 1)
    assert await kv.get_many([key]) == {key: 1}
    assert [item.key for item in (await kv.list(key)).items] == [key]


async def test_a_value_ends_at_64_kib(kv: KeyValues) -> None:
    await kv.set("a", "x" * (65_536 - 2))
    await kv.set_secret("b", "x" * 65_536)
    with pytest.raises(InvalidRequestError, match="has 65,537 bytes"):
        await kv.set("a", "x" * (65_536 - 1))
    with pytest.raises(InvalidRequestError, match="has 65,538 bytes"):
        await kv.set_secret("b", "é" * 32_769)


async def test_what_has_no_json_form_or_is_empty_is_refused(kv: KeyValues) -> None:
    with pytest.raises(InvalidRequestError, match="no JSON form"):
        await kv.set("a", object())
    with pytest.raises(InvalidRequestError, match="no JSON form"):
        await kv.set("a", 2**70)
    with pytest.raises(InvalidRequestError, match="is empty"):
        await kv.set_secret("a", "")
    with pytest.raises(InvalidRequestError, match="is no text"):
        await kv.set_secret("a", "\ud800")
    assert await kv.get("a") is None


async def test_keys_are_listed_in_order_by_prefix_and_page(kv: KeyValues) -> None:
    keys = ["a", "a.", "a.b", "a.b.c", "a/x", "a0", "aa", "b", "ab.c", "-", "~"[:0] + "Z"]
    for key in keys:
        await kv.set(key, key)
    assert [item.key for item in (await kv.list()).items] == sorted(keys)
    for prefix in ("", "a", "a.", "a.b", "b", "zz", "-"):
        expected = sorted(key for key in keys if key.startswith(prefix))
        found: list[str] = []
        cursor = None
        while True:
            page = await kv.list(prefix, limit=2, cursor=cursor)
            assert all(item.value == item.key for item in page.items)
            found += [item.key for item in page.items]
            cursor = page.cursor
            if cursor is None:
                break
            assert len(page.items) == 2
        assert found == expected


async def test_a_cursor_or_prefix_that_is_none_is_refused(kv: KeyValues) -> None:
    with pytest.raises(InvalidRequestError):
        await kv.list(cursor="no cursor")
    with pytest.raises(InvalidRequestError):
        await kv.list("no prefix")


async def test_without_a_key_no_secret_is_stored_or_read() -> None:
    kv = MemoryKeyValues(SecretBox(None))
    with pytest.raises(ConflictError, match="SAGABUS_SECRET_KEY"):
        await kv.set_secret("a", "x")
    await kv.set("b", 1)
    assert await kv.get_many(["a", "b"]) == {"b": 1}
