"""Keeps a local cluster off the network."""

import importlib
import ipaddress
from collections.abc import Callable
from typing import Any


def bind_serve_to_loopback(host: str) -> None:
    """Has this replica's internal Serve server bind `host` when that is a loopback address.

    Serve binds it to [::] and has no setting for it. Called in a deployment's constructor, which
    runs just before the server starts.
    """
    if not ipaddress.ip_address(host).is_loopback:
        return
    replica: Any = importlib.import_module("ray.serve._private.replica")
    bind: Callable[[Any, str], int] = replica.add_port_to_grpc_server
    if getattr(bind, "on_loopback", False):
        return

    def on_loopback(server: Any, address: str) -> int:
        return bind(server, f"{host}:{address.rpartition(':')[2]}")

    on_loopback.on_loopback = True  # type: ignore[attr-defined]
    replica.add_port_to_grpc_server = on_loopback
