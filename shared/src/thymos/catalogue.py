"""Imports every module that declares messages, so that the registry is complete."""

from thymos import commands, dead_letters, events, metrics, tasks, telemetry

__all__ = ["commands", "dead_letters", "events", "metrics", "tasks", "telemetry"]
