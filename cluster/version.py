"""Which release this is."""

from importlib.metadata import version as installed


def version() -> str:
    """The installed package's version."""
    return installed("ringroad")
