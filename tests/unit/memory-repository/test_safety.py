"""Tenants, limits, hostile input, tampering."""

import math
from typing import Any

import pytest

from memory_repository import Memory, MemoryRepository, Modify, Put
from memory_repository.core import limits
from thymos.errors import Refusal, RefusalCode


def opened(url: str, tenant: str, agent: str = "support") -> MemoryRepository:
    return MemoryRepository.open(url, tenant=tenant, agent=agent)


def test_tenants_and_agents_in_one_store_see_nothing_of_each_other(store_url: str) -> None:
    with (
        opened(store_url, "acme") as acme,
        opened(store_url, "globex") as globex,
        opened(store_url, "acme", "sales") as sales,
    ):
        head = acme.commit([Put(Memory("secret", "the price of acme"))]).commit
        acme.create_branch("plan")
        acme.snapshot("kept")
        acme.open_worktree("w1", "plan")
        for other in (globex, sales):
            assert other.memories() == []
            assert other.search("price acme secret").hits == ()
            assert [branch.name for branch in other.branches()] == ["main"]
            assert other.worktrees() == []
            for ref in (head.id, head.id[:12], "plan", "kept"):
                with pytest.raises(Refusal, match="there is no"):
                    other.memories(ref)
            with pytest.raises(Refusal, match="no worktree"):
                other.close_worktree("w1")
            other.commit([Put(Memory("secret", "mine"))])
        assert acme.get("secret").memory.content == "the price of acme"


def test_another_tenants_words_do_not_change_a_score(store_url: str) -> None:
    with opened(store_url, "acme") as acme, opened(store_url, "globex") as globex:
        acme.commit([Put(Memory("a", "refund days")), Put(Memory("b", "shipping days"))])
        before = acme.search("refund days")
        globex.commit([Put(Memory(f"m{n}", "refund refund refund")) for n in range(50)])
        assert acme.search("refund days") == before


@pytest.mark.parametrize("name", ["", "UPPER", "dots.in.it", "spa ce", "a" * 64, "-x", "*", ">", "ä", "a/b", "a\nb"])
def test_names_of_tenants_and_agents_follow_the_rule(name: str) -> None:
    for tenant, agent in ((name, "support"), ("acme", name)):
        with pytest.raises(Refusal, match="characters"):
            MemoryRepository.open("sqlite://", tenant=tenant, agent=agent)


@pytest.mark.parametrize("name", ["", "a b", "a.b", "../etc", "x" * 128, "a~1", "_x", "a;DROP TABLE ref"])
def test_names_of_branches_follow_the_rule(memory: MemoryRepository, name: str) -> None:
    with pytest.raises(Refusal, match="characters") as error:
        memory.create_branch(name)
    assert error.value.code is RefusalCode.INVALID


@pytest.mark.parametrize("memory_id", ["", " ", "a b", "ä", "x" * 201, "-x", "a\x00b", "a\nb", "'"])
def test_ids_of_memories_follow_the_rule(memory: MemoryRepository, memory_id: str) -> None:
    for change in (Put(Memory(memory_id, "x")), Modify(memory_id, content="x")):
        with pytest.raises(Refusal, match="memory id is"):
            memory.commit([change])


def test_sizes_up_to_the_limit_are_taken_and_beyond_it_refused(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("full", "ä" * (limits.CONTENT_BYTES_MAX // 2)))])
    memory.commit([Put(Memory("fields", "", fields={"x": "y" * (limits.FIELDS_BYTES_MAX - 8)}))], message="m" * 1024)
    too_large: list[dict[str, Any]] = [
        {"changes": [Put(Memory("m", "ä" * (limits.CONTENT_BYTES_MAX // 2) + "a"))]},
        {"changes": [Put(Memory("m", "", fields={"x": "y" * (limits.FIELDS_BYTES_MAX - 7)}))]},
        {"changes": [Put(Memory("m", ""))], "message": "m" * 1025},
        {"changes": [Put(Memory("m", ""))], "author": "m" * 801},
        {"changes": [Put(Memory(f"m{n}", "")) for n in range(limits.CHANGES_MAX + 1)]},
    ]
    for arguments in too_large:
        with pytest.raises(Refusal, match="limit is") as error:
            memory.commit(**arguments)
        assert error.value.code is RefusalCode.TOO_LARGE
    assert len(memory.memories()) == 2


@pytest.mark.parametrize(
    "broken",
    [
        Memory("m", "a\x00b"),
        Memory("m", "\ud800"),
        Memory("m", 7),  # type: ignore[arg-type]
        Memory("m", "", kind=""),
        Memory("m", "", kind="Not A Kind"),
        Memory("m", "", fields=["list"]),  # type: ignore[arg-type]
        Memory("m", "", fields={1: "x"}),  # type: ignore[dict-item]
        Memory("m", "", fields={"x": math.nan}),
        Memory("m", "", fields={"x": math.inf}),
        Memory("m", "", fields={"x": {1, 2}}),
        Memory("m", "", fields={"x": "\udfff"}),
        Memory("m", "", fields={"\x00": 1}),
    ],
)
def test_what_is_no_valid_memory_is_refused_and_nothing_of_the_commit_remains(
    memory: MemoryRepository, broken: Memory
) -> None:
    with pytest.raises(Refusal) as error:
        memory.commit([Put(Memory("fine", "x")), Put(broken)])
    assert error.value.code is RefusalCode.INVALID
    assert memory.memories() == []


def test_deep_nesting_is_refused(memory: MemoryRepository) -> None:
    deep: Any = 1
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(Refusal, match="nested"):
        memory.commit([Put(Memory("m", "", fields={"x": deep}))])


@pytest.mark.parametrize(
    "text", ["'; DROP TABLE version; --", '"quoted"', "%s %d {} \\", "\u202eright to left", "😀" * 50]
)
def test_text_is_only_text(memory: MemoryRepository, text: str) -> None:
    memory.commit([Put(Memory("m", text, fields={text: [text]}))], message=text)
    assert memory.get("m").memory == Memory("m", text, fields={text: [text]})
    memory.search(text)
    assert memory.verify().ok


TAMPERING = {
    "content": "UPDATE version SET content = 'forged' WHERE memory_id = 'b'",
    "fields": """UPDATE version SET fields = '{"x":1}' WHERE memory_id = 'b'""",
    "message": "UPDATE commits SET message = 'forged' WHERE seq = 2",
    "author": "UPDATE commits SET author = 'forged' WHERE seq = 3",
    "time": "UPDATE commits SET at = '2020-01-01T00:00:00.000000Z' WHERE seq = 3",
    "parents": "UPDATE commit_parent SET parent_no = 1 WHERE commit_no = 3",
    "a removed entry": "DELETE FROM entry WHERE memory_id = 'a' AND seq = 2",
    "an added entry": "INSERT INTO entry SELECT line_id, 'c', 2, version_id, commit_no FROM entry LIMIT 1",
    "a swapped version": "UPDATE entry SET version_id = 2 WHERE seq = 2",
    "the state": "UPDATE commits SET state = (SELECT state FROM commits WHERE seq = 1) WHERE seq = 3",
}


@pytest.mark.parametrize("how", TAMPERING)
def test_a_changed_history_is_found_out(store_url: str, how: str) -> None:
    with opened(store_url, "acme") as memory:
        memory.commit([Put(Memory("a", "first"))], message="one")
        memory.commit([Put(Memory("b", "second"))], message="two")
        assert memory.verify().ok
        memory._connection.execute(TAMPERING[how])
        assert not memory.verify().ok


def test_the_chain_verifies_when_content_and_salt_have_been_removed(store_url: str) -> None:
    """What redaction will do; decided with the first commit id, since ids never change."""
    with opened(store_url, "acme") as memory:
        memory.commit([Put(Memory("a", "a person's name"))])
        memory.commit([Put(Memory("a", "harmless"))])
        memory._connection.execute(
            "UPDATE version SET content = NULL, salt = NULL, kind = NULL, fields = NULL WHERE content LIKE '%name'"
        )
        result = memory.verify()
        assert (result.ok, result.redacted) == (True, 1)
        assert memory.get("a").memory.content == "harmless"
        assert memory.get("a", "main~1").memory == Memory("a", "", "redacted")
        memory.rollback("main~1")
        memory.commit([Put(Memory("a", "a person's name"))])
        assert memory.get("a").memory.content == "a person's name"
        assert memory.verify().ok


def test_the_limits_of_text_merging_hold_against_hostile_texts(memory: MemoryRepository) -> None:
    memory.commit([Put(Memory("m", "\n" * 60_000))])
    memory.create_branch("idea")
    memory.commit([Modify("m", content="a\n" * 30_000)])
    memory.commit([Modify("m", content="b\n" * 30_000)], branch="idea")
    assert memory.merge("idea").open


@pytest.mark.parametrize("number", [2**63, -(2**63), 10**5_000], ids=["2^63", "-2^63", "10^5000"])
def test_integers_beyond_64_bits_are_refused_whatever_their_length(memory: MemoryRepository, number: int) -> None:
    with pytest.raises(Refusal, match=r"an integer of [0-9]+ bits") as caught:
        memory.commit([Put(Memory("a", "x", fields={"deep": [{"n": number}]}))])
    assert caught.value.code is RefusalCode.INVALID
    memory.commit([Put(Memory("a", "x", fields={"n": 2**63 - 1, "m": 1 - 2**63}))])
    assert memory.get("a").memory.fields == {"n": 2**63 - 1, "m": 1 - 2**63}
