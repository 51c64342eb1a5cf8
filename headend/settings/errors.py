"""What is wrong with a configuration."""

from __future__ import annotations


class SettingsError(Exception):
    """The configuration cannot be used; the message lists every wrong key."""
