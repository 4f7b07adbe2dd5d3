"""Every message there is: importing this module imports those that declare one, so that the registry is complete."""

from thymos import commands, dead_letters, events, metrics, tasks, telemetry
from thymos.message import REGISTRY, Kind, Message

__all__ = ["commands", "dead_letters", "events", "messages", "metrics", "tasks", "telemetry"]


def messages(kind: Kind | None = None) -> tuple[type[Message], ...]:
    """All declared message classes, in the order of their type names."""
    return tuple(cls for _, cls in sorted(REGISTRY.items()) if kind is None or cls.KIND is kind)
