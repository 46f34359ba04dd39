"""What processes hold of requests."""

from ringroad.actors.drafter.model import ModelDrafter
from ringroad.actors.engine.tenant import Tenant
from tests.simulation.gateway import GatewayProcess
from tests.simulation.processes import RouterProcess
from tests.simulation.roles import RoleProcess


def held(process: object, harsh: bool) -> str:
    """What a process still holds of requests that are over."""
    if isinstance(process, RouterProcess):
        return _filled(
            running=process.router._running,
            waiting=process.router._waiting,
            rulings=process.router._rulings._pending,
            sessions=[name for peer in process.router._peers.values() for name in peer.sessions],
            rounds=[name for peer in process.router._peers.values() for name in peer.foresight._rounds],
        )
    if isinstance(process, GatewayProcess):
        return _filled(**process.held())
    # Where a Close and what it ends change places, a role holds what nobody can tell it to let go of.
    if isinstance(process, RoleProcess) and isinstance(process.role, Tenant) and not harsh:
        role = process.role
        engine = role._engine
        found = _filled(
            held=role._held, tasks=role._tasks, sessions=engine._sessions, blocks=engine._pool._holders
        ) + _filled(owners=process.shared._owners)
        if isinstance(role, ModelDrafter):
            found += _filled(
                growers=role._growers, free=role._free, guessed=role._guessed, ahead=role._idle._ahead
            )
        return found
    return ""


def _filled(**parts: object) -> str:
    return " ".join(f"{name}: {list(part)}" for name, part in parts.items() if part)  # type: ignore[call-overload]
