"""A name is one token of a subject; what is not is refused with the rule."""

from collections.abc import Callable
from typing import Any

import pytest

from thymos.names import check_agent, check_branch, check_tenant


@pytest.mark.parametrize("name", ["a", "7", "support", "support-desk_2", "x" * 63])
def test_tenant_and_agent_names(name: str) -> None:
    assert check_tenant(name) == name
    assert check_agent(name) == name


@pytest.mark.parametrize("name", ["main", "Main", "experiment-0123456789ab-learn-from-success", "x" * 127])
def test_branch_names(name: str) -> None:
    assert check_branch(name) == name


@pytest.mark.parametrize("check", [check_tenant, check_agent, check_branch])
@pytest.mark.parametrize("name", ["", "-a", "_a", "a.b", "a b", "a*", ">", "a\n", "ä", "a/b", "x" * 128])
def test_what_would_not_be_one_token_is_refused(check: Callable[[str], str], name: str) -> None:
    with pytest.raises(ValueError, match="starting with a letter or digit; got"):
        check(name)


@pytest.mark.parametrize("check", [check_tenant, check_agent])
@pytest.mark.parametrize("name", ["Support", "x" * 64])
def test_tenants_and_agents_are_short_and_lower_case(check: Callable[[str], str], name: str) -> None:
    with pytest.raises(ValueError, match="1 to 63 characters of a-z, 0-9, '_' and '-'"):
        check(name)


def test_the_message_says_which_name_and_shortens_a_long_one() -> None:
    with pytest.raises(ValueError) as refusal:
        check_agent("Support Desk")
    assert str(refusal.value) == (
        "an agent name is 1 to 63 characters of a-z, 0-9, '_' and '-', starting with a letter or digit; "
        "got 'Support Desk'"
    )
    with pytest.raises(ValueError, match="of 100000 characters") as refusal:
        check_branch("b" * 100_000)
    assert len(str(refusal.value)) < 200


@pytest.mark.parametrize(("check", "words"), [(check_tenant, "a tenant name"), (check_agent, "an agent name")])
def test_a_name_is_text(check: Callable[[Any], str], words: str) -> None:
    with pytest.raises(ValueError, match=f"{words} is text"):
        check(7)
