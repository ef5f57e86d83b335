"""Files that travel with sagabus: in the wheel under ``_data``, in a checkout at its root."""

from pathlib import Path

from sagabus.errors import SettingsError

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parents[1]


def data_path(name: str) -> Path:
    """The directory ``name`` (``migrations``, ``config``) that belongs to this installation.

    Raises:
        SettingsError: the installation lacks it.
    """
    for candidate in (_PACKAGE / "_data" / name, _CHECKOUT / name):
        if candidate.is_dir():
            return candidate
    raise SettingsError(f"this installation of sagabus lacks its '{name}' directory: reinstall it")
