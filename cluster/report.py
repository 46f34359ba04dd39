"""What `ringroad status` shows of a running cluster."""

from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from ringroad.cluster.client import CallFailed, Client
from ringroad.cluster.daemon import Running
from ringroad.cluster.processes import Family


def report(running: Running, console: Console) -> bool:
    """Shows its target, models, roles, load and processes. False when it cannot serve requests."""
    with Client(running.target) as client:
        ready = client.ready()
        console.print(f"{running.target}: {'ready' if ready else 'not ready'}")
        try:
            _show_service(client, console)
        except CallFailed as error:
            console.print(f"no answer: {error}", markup=False)
    console.print(_processes(running.process))
    return ready


def _show_service(client: Client, console: Console) -> None:
    for pair in client.models():
        small = f" with {pair.small}" if pair.small else ""
        console.print(f"model {pair.name}: {pair.large}{small}, context {pair.context_length:,} tokens")
    load = client.load()
    console.print(
        f"load: {load.running} of {load.capacity} running, {load.waiting} waiting, "
        f"{load.committed_tokens:,} tokens committed"
    )
    roles = Table("role", "model", "ready", "sessions", "cached tokens", "memory")
    info = client.server_info()
    for role in info.roles:
        ready = "yes" if role.ready else "no"
        counts = (f"{role.sessions:,}", f"{role.cached_tokens:,}")
        roles.add_row(role.name, role.model, ready, *counts, _megabytes(role.memory_bytes))
    console.print(roles)
    console.print(f"ledger: {info.ledger or 'unknown'}")


def _processes(head: psutil.Process) -> Table:
    table, total = Table("process", "pid", "memory", show_footer=True), 0
    for member in Family(head).alive():
        try:
            memory, name = member.memory_info().rss, _name(member)
        except psutil.NoSuchProcess:
            continue
        total += memory
        table.add_row(name, str(member.pid), _megabytes(memory))
    table.columns[2].footer = _megabytes(total)
    return table


def _name(process: psutil.Process) -> str:
    """`ray::ServeReplica:...` as Ray titles it, else the program or Python's script or module."""
    command, *arguments = process.cmdline() or [process.name()]
    if not Path(command).name.startswith("python"):
        return Path(command.split()[0]).name if command.startswith("/") else command
    return Path(next((word for word in arguments if not word.startswith("-")), command)).name


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.0f} MB"
