"""Encryption of secrets, and where its key comes from."""

import base64
from pathlib import Path

import pytest

from sagabus.adapters.secret_box import KEY_FILE, SecretBox, own_key, parse_key, read_key
from sagabus.app.connections import open_secret_box
from sagabus.errors import ConflictError, SettingsError
from sagabus.settings import Settings

KEY = bytes(range(32))
TEXT = base64.b64encode(KEY).decode()


def test_a_secret_comes_back_and_is_not_in_what_is_stored():
    box = SecretBox(KEY)
    stored = box.seal("a", "s3cret é\n")
    assert box.open("a", stored) == "s3cret é\n"
    assert "s3cret" not in stored
    assert b"s3cret" not in base64.b64decode(stored.split(":")[2])


def test_the_same_secret_is_never_stored_the_same_way():
    box = SecretBox(KEY)
    assert box.seal("a", "x") != box.seal("a", "x")


def test_what_is_stored_under_one_name_cannot_be_read_under_another():
    box = SecretBox(KEY)
    with pytest.raises(ConflictError, match="'b' was changed"):
        box.open("b", box.seal("a", "x"))


@pytest.mark.parametrize(
    "change", [lambda s: s[:-6] + "AAAAA=", lambda s: s + "x", lambda s: s[:30]]
)
def test_what_was_changed_is_not_read(change):
    box = SecretBox(KEY)
    with pytest.raises(ConflictError, match="was changed; store it again"):
        box.open("a", change(box.seal("a", "a secret")))


def test_another_key_is_named_as_the_cause():
    with pytest.raises(ConflictError, match="another key than this orchestrator has"):
        SecretBox(bytes(32)).open("a", SecretBox(KEY).seal("a", "x"))
    with pytest.raises(ConflictError, match="another key"):
        SecretBox(KEY).open("a", "nonsense")
    with pytest.raises(ConflictError, match="cannot be read without its key: set SAGABUS_SECRET"):
        SecretBox(None).open("a", SecretBox(KEY).seal("a", "x"))


def test_a_key_is_32_bytes_in_base64_of_either_alphabet():
    key = b"\xfb\xff" * 16
    for text in (
        base64.b64encode(key).decode(),
        base64.urlsafe_b64encode(key).decode(),
        base64.b64encode(key).decode().rstrip("=") + "\n",
    ):
        assert parse_key(text, "it") == key


@pytest.mark.parametrize(
    "text", ["", "short", "ü" * 43, base64.b64encode(b"x" * 31).decode(), "!" * 44]
)
def test_anything_else_is_refused_without_being_repeated(text: str):
    with pytest.raises(SettingsError, match="IT does not hold 32 bytes in base64") as caught:
        parse_key(text, "IT")
    assert not text or text not in str(caught.value)


def test_a_data_directory_gets_one_key_for_its_owner(tmp_path: Path):
    key = own_key(tmp_path / "data")
    path = tmp_path / "data" / KEY_FILE
    assert own_key(tmp_path / "data") == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == [KEY_FILE]


def test_a_key_that_everybody_may_read_is_refused(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text(TEXT)
    path.chmod(0o644)
    with pytest.raises(SettingsError, match=r"everybody may read .*key; chmod 600 it"):
        read_key(path, "FILE")
    path.chmod(0o640)  # a group is how a service gets its files
    assert read_key(path, "FILE") == KEY
    with pytest.raises(SettingsError, match=r"FILE: .*none cannot be read: No such file"):
        read_key(tmp_path / "none", "FILE")


def test_where_the_key_comes_from(tmp_path: Path):
    stored = SecretBox(KEY).seal("a", "x")
    path = tmp_path / "key"
    path.write_text(TEXT)
    path.chmod(0o600)
    environ = {"SAGABUS_DATA": str(tmp_path / "data")}
    for given in ({"SAGABUS_SECRET_KEY": TEXT}, {"SAGABUS_SECRET_KEY_FILE": str(path)}):
        box = open_secret_box(Settings.load({}, environ | given))
        assert box.open("a", stored) == "x"
    assert not (tmp_path / "data").exists()
    own = open_secret_box(Settings.load({}, environ))
    assert own.open("a", own.seal("a", "y")) == "y"
    remote = environ | {"SAGABUS_SURREAL_URL": "ws://127.0.0.1:1/rpc"}
    with pytest.raises(ConflictError, match="no secret can be stored without a key"):
        open_secret_box(Settings.load({}, remote)).seal("a", "x")
    both = environ | {"SAGABUS_SECRET_KEY": TEXT, "SAGABUS_SECRET_KEY_FILE": str(path)}
    with pytest.raises(SettingsError, match="not both"):
        open_secret_box(Settings.load({}, both))


def test_the_key_is_shown_by_no_setting():
    settings = Settings.load({}, {"SAGABUS_SECRET_KEY": TEXT})
    assert TEXT not in repr(settings)
    assert TEXT not in str(settings)
