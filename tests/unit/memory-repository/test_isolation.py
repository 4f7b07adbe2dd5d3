"""One tenant cannot name, read, search or time another's memories."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put
from memory_repository.operations import branching, committing, reading, searching, tracing, worktrees
from memory_repository.storage import store
from memory_repository.storage.store import Repository
from thymos.database import SqliteConnection, open_sqlite
from thymos.errors import Refusal, RefusalCode

NOW = datetime(2025, 3, 1, tzinfo=UTC)
NEIGHBOURS = 5_000

Verb = Callable[[MemoryRepository, str], object]

BY_REVISION: dict[str, Verb] = {
    "get": lambda m, ref: m.get("secret", ref),
    "page": lambda m, ref: m.page(ref),
    "memories": lambda m, ref: m.memories(ref),
    "search": lambda m, ref: m.search("price", ref),
    "log": lambda m, ref: m.log(ref),
    "show": lambda m, ref: m.show(ref),
    "diff from": lambda m, ref: m.diff(ref, "main"),
    "diff to": lambda m, ref: m.diff("main", ref, symmetric=True),
    "resolve": lambda m, ref: m.resolve(ref),
    "merge_bases": lambda m, ref: m.merge_bases(ref, "main"),
    "history": lambda m, ref: m.history("secret", ref),
    "blame": lambda m, ref: m.blame("secret", ref),
    "bisect good": lambda m, ref: m.bisect([ref]),
    "bisect bad": lambda m, ref: m.bisect(["main"], ref),
    "bisect skip": lambda m, ref: m.bisect(["main~2"], "main", [ref]),
    "commit": lambda m, ref: m.commit([Put(Memory("x", "x"))], expected_head=ref),
    "merge": lambda m, ref: m.merge(ref),
    "rollback": lambda m, ref: m.rollback(ref),
    "cherry_pick": lambda m, ref: m.cherry_pick(ref),
    "revert": lambda m, ref: m.revert(ref),
    "rebase": lambda m, ref: m.rebase("mine", ref),
    "create_branch": lambda m, ref: m.create_branch("new", ref),
    "tag": lambda m, ref: m.tag("new", ref),
    "snapshot": lambda m, ref: m.snapshot("new", ref),
    "redact": lambda m, ref: m.redact("secret", reason="x", ref=ref),
}

BY_NAME: dict[str, Verb] = {
    "commit": lambda m, name: m.commit([Put(Memory("x", "x"))], branch=name),
    "merge into": lambda m, name: m.merge("main", name),
    "rollback": lambda m, name: m.rollback("main", branch=name),
    "cherry_pick": lambda m, name: m.cherry_pick("main~1", name),
    "revert": lambda m, name: m.revert("main~1", name),
    "rebase": lambda m, name: m.rebase(name),
    "rename_branch": lambda m, name: m.rename_branch(name, "taken"),
    "delete_branch": lambda m, name: m.delete_branch(name, force=True),
    "delete_tag": lambda m, name: m.delete_tag(name),
    "delete_snapshot": lambda m, name: m.delete_snapshot(name),
    "open_worktree": lambda m, name: m.open_worktree("mine", name),
    "stage": lambda m, name: m.stage(name, [Put(Memory("x", "x"))]),
    "staged": lambda m, name: m.staged(name),
    "commit_worktree": lambda m, name: m.commit_worktree(name),
    "close_worktree": lambda m, name: m.close_worktree(name, force=True),
    "redact": lambda m, name: m.redact(name, reason="x"),
    "modify": lambda m, name: m.commit([Modify(name, content="x")]),
    "delete": lambda m, name: m.commit([Delete(name)]),
    "get": lambda m, name: m.get(name),
    "history": lambda m, name: m.history(name),
    "blame": lambda m, name: m.blame(name),
    "reflog": lambda m, name: m.reflog(name),
}

LISTS: dict[str, Callable[[MemoryRepository], object]] = {
    "memories": lambda m: m.memories(),
    "search": lambda m: m.search("price secret acme").hits,
    "branches": lambda m: [branch.name for branch in m.branches()],
    "tags": lambda m: m.tags(),
    "snapshots": lambda m: m.snapshots(),
    "worktrees": lambda m: m.worktrees(),
    "redactions": lambda m: m.redactions(),
    "log": lambda m: [row.message for row in m.log()],
    "page after": lambda m: m.page(after="a").memories,
    "verified": lambda m: m.verify().commits,
}


def filled(url: str, tenant: str, agent: str) -> MemoryRepository:
    """A repository in which something stands under each kind of name."""
    memory = MemoryRepository.open(url, tenant=tenant, agent=agent)
    memory.commit([Put(Memory("secret", "the price of acme"))], message="acme's")
    memory.create_branch("plan")
    memory.commit([Put(Memory("secret", "a lower price"))], branch="plan")
    memory.tag("v1", "plan")
    memory.snapshot("kept", "plan")
    memory.open_worktree("desk", "plan")
    memory.stage("desk", [Put(Memory("draft", "a price"))])
    memory.redact("secret", reason="asked to", ref="main")
    return memory


def answer(call: Callable[[], object]) -> tuple[str, str]:
    """The refusal, as a caller sees it; "done" when there was none."""
    try:
        call()
    except Refusal as refusal:
        return refusal.code, str(refusal)
    return "done", ""


@pytest.mark.parametrize("other", [("globex", "support"), ("acme", "sales")], ids=["tenant", "agent"])
def test_no_verb_can_tell_anothers_names_from_names_that_nobody_has(store_url: str, other: tuple[str, str]) -> None:
    """The same answer in a store in which the other is not: same code, same words."""
    with (
        filled(store_url, "acme", "support") as acme,
        MemoryRepository.open(store_url, tenant=other[0], agent=other[1]) as stranger,
    ):
        theirs = acme.resolve("plan").id
        stranger.commit([Put(Memory("own", "x"))])
        stranger.commit([Put(Memory("own", "y"))])
        stranger.create_branch("mine")
        before = [show(stranger) for show in LISTS.values()]
        for ref, nobodys in (
            (theirs, "0" * 64),
            (theirs[:8], "0" * 8),
            ("plan", "nope"),
            ("v1", "n1"),
            ("kept", "lost"),
        ):
            for suffix in ("", "~1", "^1"):
                for name, verb in BY_REVISION.items():
                    got = answer(lambda verb=verb, ref=ref + suffix: verb(stranger, ref))  # type: ignore[misc]
                    wanted = answer(lambda verb=verb, ref=nobodys + suffix: verb(stranger, ref))  # type: ignore[misc]
                    ids_alone = name == "commit" and not set(ref + suffix) <= set("0123456789abcdef")
                    assert got[0] == (RefusalCode.INVALID if ids_alone else RefusalCode.NOT_FOUND), (name, ref + suffix)
                    assert got == (wanted[0], wanted[1].replace(nobodys, ref)), (name, ref + suffix)
        for known, nobodys in (
            ("plan", "nope"),
            ("desk", "sofa"),
            ("secret", "public"),
            ("v1", "n1"),
            ("kept", "lost"),
        ):
            for name, verb in BY_NAME.items():
                got = answer(lambda verb=verb, known=known: verb(stranger, known))  # type: ignore[misc]
                wanted = answer(lambda verb=verb, known=nobodys: verb(stranger, known))  # type: ignore[misc]
                assert got[0] == RefusalCode.NOT_FOUND, (name, known)
                assert got == (wanted[0], wanted[1].replace(nobodys, known)), (name, known)
        assert [show(stranger) for show in LISTS.values()] == before
        assert stranger.memories() == [Memory("own", "y")]
        assert acme.get("secret", "plan").memory.content == "a lower price"
        assert acme.staged("desk") == {"draft": Memory("draft", "a price")}


WORK: dict[str, Callable[[Repository], object]] = {
    "search": lambda r: searching.search(r, "price of number7"),
    "search for a frequent word": lambda r: searching.search(r, "price"),
    "search for a word that only the other has": lambda r: searching.search(r, "number4711"),
    "get": lambda r: reading.get(r, "m7"),
    "get what only the other has": lambda r: answer(lambda: reading.get(r, "m4711")),
    "resolve a prefix": lambda r: r.resolve(r.resolve("main").id[:8]),
    "resolve a prefix that nobody has": lambda r: answer(lambda: r.resolve("0" * 8)),
    "resolve a branch that only the other has": lambda r: answer(lambda: r.resolve("plan")),
    "page": lambda r: reading.page(r, limit=10, after="m2"),
    "log": lambda r: reading.log(r),
    "history": lambda r: tracing.history(r, "m7"),
    "branches": lambda r: reading.branches(r),
    "worktrees": lambda r: worktrees.list_worktrees(r),
    "commit": lambda r: committing.commit(r, "main", [Put(Memory("m7", "price"))], author="x", now=NOW),
    "branch": lambda r: branching.create_branch(r, "plan", actor="x", now=NOW),
}


def small_beside(neighbours: int, name: str = "m", text: str = "the price of number") -> Repository:
    """A tenant's ten memories, in a store in which another has so many, with the same ids and words or others."""
    db = open_sqlite(":memory:")
    db.executescript(store.SCHEMA)
    own = store.open_repository(db, "globex", "support", now=NOW, key=b"k" * 32).repository
    other = store.open_repository(db, "acme", "support", now=NOW, key=b"o" * 32).repository
    for repo, count, begin, words in ((own, 10, "m", "the price of number"), (other, neighbours, name, text)):
        puts = [Put(Memory(f"{begin}{n}", f"{words}{n}")) for n in range(count)]
        committing.commit(repo, "main", puts, author="x", now=NOW)
    if neighbours:
        branching.create_branch(other, "plan" if name == "m" else "nalp", actor="x", now=NOW)
        for number in range(20):
            worktrees.open_worktree(other, f"w{number}", owner="x", now=NOW)
            change = Put(Memory(f"{name}7", f"{text}{number} again"))
            committing.commit(other, "main", [change], author="x", now=NOW)
    return own


def steps(repo: Repository, work: Callable[[Repository], object]) -> int:
    """Virtual machine steps of `work`, which is undone afterwards."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    assert isinstance(repo.db, SqliteConnection)
    repo.db.execute("BEGIN")
    repo.db.set_progress_handler(step, 1)
    try:
        work(repo)
    finally:
        repo.db.set_progress_handler(None, 0)
        repo.db.execute("ROLLBACK")
    return count


@pytest.fixture(scope="module")
def stores() -> tuple[Repository, Repository, Repository]:
    """Alone; beside a tenant with the same ids and words; beside one with others."""
    return small_beside(0), small_beside(NEIGHBOURS), small_beside(NEIGHBOURS, "x", "teh ecirp fo rebmun")


@pytest.mark.parametrize("verb", WORK)
def test_what_another_tenant_has_cannot_be_told_from_the_work_of_a_verb(
    stores: tuple[Repository, Repository, Repository], verb: str
) -> None:
    """The same steps whatever the other's ids and words are. That there are 5,000 more memories in the file shows, if
    at all, in the index of words alone: it has some more segments to look into, whoever asks for what."""
    alone, same, different = (steps(repo, WORK[verb]) for repo in stores)
    assert same == different, f"{same} steps beside the same words, {different} beside others"
    assert same <= alone * (1.25 if "search" in verb else 1) + 2, f"{alone} steps alone, {same} beside {NEIGHBOURS:,}"
