"""Settings: where values come from, and what is refused."""

from pathlib import Path

import pytest

from sagabus.errors import SettingsError
from sagabus.settings import Settings


def test_flags_win_over_variables_and_these_over_defaults():
    environ = {"SAGABUS_DATA": "from-env", "SAGABUS_PARTITIONS": "8", "SAGABUS_HTTP": "  "}
    settings = Settings.load({"data_dir": "from-flag", "partitions": None}, environ)
    assert settings.data_dir == Path("from-flag")
    assert settings.partitions == 8
    assert settings.http == "127.0.0.1:8420"


def test_database_lies_in_the_data_directory_unless_one_is_named():
    assert Settings(data_dir=Path("here")).store_url == "surrealkv://here/db"
    assert Settings(surreal_url="ws://db:8000/rpc").store_url == "ws://db:8000/rpc"


@pytest.mark.parametrize("address", ["127.0.0.1:0", "localhost:8420", "[::1]:8420", "127.1.2.3:1"])
def test_loopback_addresses_are_taken(address):
    settings = Settings.load({"http": address}, {})
    assert settings.http_port == int(address.rsplit(":", 1)[1])
    assert "[" not in settings.http_host


@pytest.mark.parametrize("address", ["0.0.0.0:80", "10.1.2.3:80", "example.org:80", "[::]:80"])
def test_any_other_address_is_refused_in_one_sentence(address):
    with pytest.raises(SettingsError, match="is not a loopback address") as caught:
        Settings.load({"http": address}, {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SAGABUS_HTTP", "8420"),
        ("SAGABUS_HTTP", "127.0.0.1:99999"),
        ("SAGABUS_PARTITIONS", "0"),
        ("SAGABUS_CONNECT_TIMEOUT", "soon"),
        ("SAGABUS_LOG_LEVEL", "loud"),
        ("SAGABUS_SURREAL_URL", "postgres://x"),
        ("SAGABUS_NATS_URL", "http://x"),
    ],
)
def test_bad_value_names_the_variable_it_came_from(variable, value):
    with pytest.raises(SettingsError, match=f"^{variable}: "):
        Settings.load({}, {variable: value})


def test_passwords_are_shown_nowhere():
    secret = "hunter2"
    environ = {
        "SAGABUS_SURREAL_PASSWORD": secret,
        "SAGABUS_NATS_URL": f"nats://bus:{secret}@a:4222,nats://b:4222",
    }
    settings = Settings.load({}, environ)
    shown = [repr(settings), str(settings), settings.nats_address]
    assert not any(secret in text for text in shown)
    assert settings.nats_address == "nats://a:4222,nats://b:4222"
    assert settings.surreal_password.get_secret_value() == secret
    for scheme in ("mysql", "ws"):
        with pytest.raises(SettingsError) as caught:
            Settings.load({}, {"SAGABUS_SURREAL_URL": f"{scheme}://root:{secret}@db"})
        assert secret not in str(caught.value)
