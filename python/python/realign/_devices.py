"""What there is to compute on."""

from __future__ import annotations

from typing import NamedTuple

from . import _realign


class Device(NamedTuple):
    """A device, as :func:`devices` lists it."""

    #: What ``device=`` takes, part of it is enough.
    name: str
    #: ``host``, ``discrete``, ``integrated``, ``software``, …
    kind: str
    #: ``host``, ``vulkan``, ``metal``, ``dx12`` or ``gl``.
    backend: str
    #: Driver and version, where known.
    driver: str


def devices() -> list[Device]:
    """The host's cores, then every adapter of the machine.

    ``device=`` takes ``auto`` (a GPU, else the host), ``gpu``, ``host``, an adapter's name or part of it, or its number.
    """
    return [Device(*found) for found in _realign.devices()]
