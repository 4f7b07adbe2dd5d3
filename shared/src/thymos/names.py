"""The names that become part of a subject: tenant, agent, branch. One rule each, checked where a name enters.

The rules keep a name to one token of a subject: no dot, no space, no wildcard, nothing that needs escaping.
"""

from __future__ import annotations

import re

_TENANT_OR_AGENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_BRANCH = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,126}", re.ASCII)
NAME_PATTERN = _TENANT_OR_AGENT.pattern
"""What the whole of a tenant's or agent's name matches."""
BRANCH_PATTERN = _BRANCH.pattern
"""What the whole of a branch's name matches."""

_TENANT_OR_AGENT_RULE = "1 to 63 characters of a-z, 0-9, '_' and '-', starting with a letter or digit"
_BRANCH_RULE = "1 to 127 characters of A-Z, a-z, 0-9, '_' and '-', starting with a letter or digit"

_SHOWN = 40
"""Characters of a refused name that a message repeats: enough to recognise it, too few to flood a log."""


def check_tenant(name: str) -> str:
    """Return `name` if it is a tenant's name: ``[a-z0-9][a-z0-9_-]{0,62}``.

    Raises:
        ValueError: it is not; the message states the rule and the name, shortened.
    """
    return _check("tenant", _TENANT_OR_AGENT, _TENANT_OR_AGENT_RULE, name)


def check_agent(name: str) -> str:
    """Return `name` if it is an agent's name: ``[a-z0-9][a-z0-9_-]{0,62}``.

    Raises:
        ValueError: it is not; the message states the rule and the name, shortened.
    """
    return _check("agent", _TENANT_OR_AGENT, _TENANT_OR_AGENT_RULE, name)


def check_branch(name: str) -> str:
    """Return `name` if it is a branch's name: ``[A-Za-z0-9][A-Za-z0-9_-]{0,126}``.

    Raises:
        ValueError: it is not; the message states the rule and the name, shortened.
    """
    return _check("branch", _BRANCH, _BRANCH_RULE, name)


def _check(what: str, pattern: re.Pattern[str], rule: str, name: str) -> str:
    if not isinstance(name, str):
        raise ValueError(f"{_article(what)} {what} name is text, {rule}; got {type(name).__name__}")
    if pattern.fullmatch(name) is None:
        shown = repr(name) if len(name) <= _SHOWN else f"{name[:_SHOWN]!r}… of {len(name)} characters"
        raise ValueError(f"{_article(what)} {what} name is {rule}; got {shown}")
    return name


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"
