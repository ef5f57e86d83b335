"""The installed version."""

from importlib import metadata

try:
    __version__ = metadata.version("sagabus")
except metadata.PackageNotFoundError:  # run from a source tree
    __version__ = "0+source"
