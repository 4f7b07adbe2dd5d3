"""What a real git makes of an exported history, and what comes back of it; and streams that are not right."""

import subprocess
from collections.abc import Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path

import pytest
from tests.histories.git_trees import GitCopy

from memory_repository import Delete, Memory, MemoryRepository, Modify, Put, Strategy
from memory_repository.storage import refs
from memory_repository.storage.store import Repository
from thymos.errors import Refusal


@pytest.fixture
def git(tmp_path: Path) -> GitCopy:
    return GitCopy(tmp_path / "git")


@pytest.fixture
def copy() -> Iterator[MemoryRepository]:
    with MemoryRepository.open("sqlite://", agent="copy") as opened:
        yield opened


def base(memory: MemoryRepository) -> None:
    answers = [
        Put(Memory("refunds", "Thirty days.\n\nWith a receipt.", "answer")),
        Put(Memory("hours", "Nine to five.")),
    ]
    memory.commit(answers, message="what we know")
    memory.create_branch("idea")


def test_git_shows_the_history_as_a_person_reads_it(memory: MemoryRepository, git: GitCopy) -> None:
    base(memory)
    memory.commit([Modify("refunds", fields={"keywords": ["return"]})], branch="idea", author="Ann <ann@x.org>")
    memory.commit([Modify("hours", content="Ten to six.")], message="new hours")
    memory.merge("idea", "main", Strategy.MANUAL, message="take the idea")
    git.take_in(memory.export_git())
    assert git.run("log", "--graph", "--format=%an|%s").splitlines() == [
        "*   test|take the idea",
        "|\\  ",
        "| * Ann|(commit)",
        "* | test|new hours",
        "|/  ",
        "* test|what we know",
        "* memory-repository|the memory begins",
    ]
    shown = git.run("show", "--format=%ae %aI", "idea")
    assert "ann@x.org 2025-03-01T12:00:04+00:00" in shown
    assert "--- a/memories/refunds.md" in shown
    assert '+  "keywords": ["return"]' in shown
    assert git.run("show", "main~1:memories/hours.md").endswith("---\nTen to six.\n")
    assert git.run("merge-base", "main", "idea") == git.run("rev-parse", "idea")
    assert git.run("blame", "-s", "main", "--", "memories/hours.md").count("\n") == 4


def test_two_exported_branches_merge_in_git(memory: MemoryRepository, git: GitCopy, copy: MemoryRepository) -> None:
    base(memory)
    memory.commit([Modify("refunds", content="Thirty days.\n\nWith a receipt or a card.")], branch="idea")
    memory.commit([Modify("refunds", kind="policy"), Delete("hours")])
    git.take_in(memory.export_git())
    git.run("reset", "--hard", "--quiet", "main")
    git.run("merge", "--quiet", "idea", "-m", "merged by a person")
    assert git.run("status", "--porcelain") == ""
    copy.import_git(BytesIO(git.stream()))
    merged = Memory("refunds", "Thirty days.\n\nWith a receipt or a card.", "policy")
    assert copy.memories() == [merged]
    head = copy.log(limit=1)[0]
    assert (head.kind, head.message, head.author) == ("merge", "merged by a person", "person <person@example.org>")
    expected = memory.merge("idea", "main", Strategy.MANUAL)
    assert memory.memories() == [merged]
    assert not expected.open


def test_conflicts_in_git_are_the_conflicts_here(memory: MemoryRepository, git: GitCopy) -> None:
    base(memory)
    memory.commit([Modify("hours", content="Eight to four.")], branch="idea")
    memory.commit([Modify("hours", content="Ten to six.")])
    assert memory.merge("idea", "main", Strategy.MANUAL).open
    git.take_in(memory.export_git())
    git.run("reset", "--hard", "--quiet", "main")
    with pytest.raises(subprocess.CalledProcessError):
        git.run("merge", "idea")
    assert git.run("diff", "--name-only", "--diff-filter=U") == "memories/hours.md\n"


def test_criss_cross_histories_have_the_same_merge_bases(
    memory: MemoryRepository, git: GitCopy, copy: MemoryRepository
) -> None:
    base(memory)
    memory.commit([Put(Memory("a", "1"))])
    memory.commit([Put(Memory("b", "1"))], branch="idea")
    here, there = memory.log("main", 1)[0].id, memory.log("idea", 1)[0].id
    memory.merge(there, "main", Strategy.MANUAL)
    memory.merge(here, "idea", Strategy.MANUAL)
    memory.commit([Put(Memory("a", "2"))])
    memory.commit([Put(Memory("b", "2"))], branch="idea")
    git.take_in(memory.export_git())
    found = git.commits()
    assert set(git.run("merge-base", "--all", "main", "idea").split()) == {found[here][0], found[there][0]}
    copy.import_git(BytesIO(git.stream()))
    again = {row.meta["original_commit"]: row.id for name in ("main", "idea") for row in copy.log(name)}
    done = copy.merge("idea", "main", Strategy.MANUAL)
    assert set(done.bases) == {again[here], again[there]}
    assert {found.id: found.content for found in copy.memories()}["b"] == "2"


def test_who_wrote_what_came_by_a_merge_is_known_after_git_too(
    memory: MemoryRepository, git: GitCopy, copy: MemoryRepository
) -> None:
    base(memory)
    written = memory.commit([Put(Memory("a", "1"))], branch="idea").commit
    memory.commit([Put(Memory("b", "1"))])
    memory.merge("idea", "main", Strategy.MANUAL)
    git.take_in(memory.export_git())
    copy.import_git(BytesIO(git.stream()))
    writer = copy.get("a").commit
    assert next(row for row in copy.log() if row.id == writer).meta["original_commit"] == written.id


def older_snapshot(memory: MemoryRepository, name: str) -> None:
    """One that bears the name of a tag, as stores have it that were written before that was refused."""

    def write(repo: Repository, now: datetime) -> None:
        commit = repo.resolve("main~1")
        refs.create(repo.db, repo.id, "snapshot", name, commit, actor="x", now=now, meta={"name": name})

    memory.write(write)


def test_tags_and_snapshots_are_annotated_tags(memory: MemoryRepository, git: GitCopy, copy: MemoryRepository) -> None:
    base(memory)
    names = ["v1.0", "V1.0", "a..b", "x.lock", "snapshot", "at:noon", "end.", "Release-1"]
    for name in names:
        memory.tag(name, "idea", reason=f"the reason of {name}")
        older_snapshot(memory, name)
    git.take_in(memory.export_git())
    assert git.run("cat-file", "-t", "v1.0") == "tag\n"
    assert git.run("tag", "-l", "--format=%(contents:subject)", "v1.0") == "the reason of v1.0\n"
    assert len(git.run("tag", "-l").split()) == 2 * len(names)
    copy.import_git(BytesIO(git.stream()))
    before = [line for line in memory.export_lines() if b'"ref":"tag"' in line or b'"ref":"snapshot"' in line]
    after = [line for line in copy.export_lines() if b'"ref":"tag"' in line or b'"ref":"snapshot"' in line]
    assert len(after) == len(before) == 2 * len(names)
    for one, other in zip(before, after, strict=True):
        assert one.partition(b'"commit":')[0] == other.partition(b'"commit":')[0]
        assert one.partition(b'"created_at":')[2] == other.partition(b'"created_at":')[2]


def test_a_history_that_began_in_git_becomes_a_memory(git: GitCopy, copy: MemoryRepository, tmp_path: Path) -> None:
    folder = tmp_path / "git" / "memories" / "customers"
    folder.mkdir(parents=True)
    (folder / "anna.md").write_text('---\nkind: person\nfields:\n  "since": 2019\n---\nLikes tea.\n', "utf-8")
    git.run("add", ".")
    git.run("commit", "--quiet", "-m", "who is who\n\nSigned-off-by: person")
    (folder / "anna.md").rename(folder / "anna-b.md")
    git.run("add", "-A", ".")
    git.run("commit", "--quiet", "-m", "renamed")
    git.run("tag", "light")
    copy.import_git(BytesIO(git.stream()))
    assert copy.memories() == [Memory("customers/anna-b", "Likes tea.", "person", {"since": 2019})]
    assert [row.message for row in copy.log()] == [
        "renamed",
        "who is who\n\nSigned-off-by: person",
        "the memory begins",
    ]
    assert copy.memories("light") == copy.memories()
    assert copy.verify().ok


def test_a_redacted_memory_is_shown_as_such_and_comes_back_as_such(
    memory: MemoryRepository, git: GitCopy, copy: MemoryRepository
) -> None:
    base(memory)
    memory.redact("hours", reason="asked to")
    git.take_in(memory.export_git())
    shown = git.run("show", "main:memories/hours.md")
    assert shown.startswith("---\nredacted: ")
    assert "Nine to five" not in shown
    copy.import_git(BytesIO(git.stream()))
    assert copy.get("hours").memory.kind == "redacted"
    assert copy.verify().redacted == 1
    assert copy.verify().ok


# --- streams that are not right ---------------------------------------------------------------------------------------

IDENT = "Ann <ann@x.org> 1772366401 +0000"
FILE = "---\nkind: note\n---\nx\n"
COMMIT = f"commit refs/heads/main\nmark :1\ncommitter {IDENT}\ndata 2\nm\n"
PUT = f"M 100644 inline memories/a.md\ndata {len(FILE)}\n{FILE}\n"


def test_a_small_stream_is_taken(copy: MemoryRepository) -> None:
    copy.import_git(BytesIO((COMMIT + PUT).encode()))
    assert copy.memories() == [Memory("a", "x")]


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        ("", "line 0: the history has no branch main"),
        ("feature done\n" + COMMIT + PUT, "breaks off: it promises `done`"),
        ("feature export-marks\n", "line 1: 'feature export-marks' is no command"),
        ("option git quiet\n", "line 1: .* is no command"),
        ("get-mark :1\n", "line 1: .* is no command"),
        ("commit refs/heads/main\n", "line 1: the commit has no committer"),
        ("commit refs/heads/main\ncommitter Ann\ndata 1\nm", "line 1: 'Ann' is not `Name"),
        ("commit refs/heads/main\ngpgsig sha1 openpgp\ndata 1\nm", "line 2: the commit has no committer"),
        (COMMIT[:-1], "line 4: the stream breaks off within 2 bytes"),
        (COMMIT[:-4], "line 4: the line is too long, or the stream breaks off"),
        (COMMIT[:-9], "line 3: expected `data <count>`"),
        (COMMIT.replace("data 2", "data <<END"), "line 4: expected `data <count>`"),
        (COMMIT.replace("data 2", "data 99999999"), "line 4: the data is 99,999,999 bytes"),
        (COMMIT + "M 100644 inline README.md\ndata 1\nx\n", "line 6: 'README.md' is no memory's file"),
        (COMMIT + PUT.replace("100644", "100755"), "line 6: .* has mode 100755"),
        (COMMIT + PUT.replace("100644", "120000"), "line 6: .* has mode 120000"),
        (COMMIT + "M 160000 0123 memories/a.md\n", "line 6: .* has mode 160000"),
        (COMMIT + "M 100644 :7 memories/a.md\n", "line 6: there is no file :7"),
        (COMMIT + "M 100644 :1 memories/a.md\n", "line 6: there is no file :1"),
        (COMMIT + f"M 100644 {'ab' * 20} memories/a.md\n", "line 6: .* is no mark"),
        (COMMIT + PUT.replace("memories/a.md", '"memories/\\303\\244.md"'), "line 6: .* is no memory's file"),
        (COMMIT + PUT.replace("memories/a.md", "memories/../a.md"), "line 6: a memory id is|is not how"),
        (COMMIT + PUT.replace(FILE, "x" * len(FILE)), "line 6: the file of a is not a memory"),
        (COMMIT + "R memories/a.md memories/b.md\n", "line 6: .* is not in an exported memory .*without -M"),
        (COMMIT + "deleteall\n", "line 6: .* without -M, -C and --full-tree"),
        (COMMIT + "D memories/a.md\n", "it deletes a, which is not there"),
        (COMMIT + PUT + PUT, "the commit changes a twice"),
        (COMMIT + "from :1\n", "line 6: there is no commit :1 before"),
        (COMMIT + "from :0\n", "line 6: ':0' is no mark"),
        (COMMIT + "from refs/heads/main^0\n", "line 6: .* is no mark"),
        (COMMIT + "merge :9\n", "line 6: there is no commit :9"),
        (COMMIT.replace("main", "other"), "the history has no branch main"),
        (COMMIT + "\nreset refs/heads/a/b\nfrom :1\n", "'refs/heads/a/b': a branch name is .*rename it in git"),
        (COMMIT + "\nreset refs/remotes/origin/x\nfrom :1\n", "neither branch nor tag"),
        (COMMIT + f"\ntag a b\nfrom :1\ntagger {IDENT}\ndata 0\n", "line 7: a.*id is"),
        (COMMIT + "\nreset refs/heads/Main\nfrom :1\n\nreset refs/heads/!main\nfrom :1\n", "Main stands there twice"),
        ("x" * 20_000, "line 1: the line is too long"),
        ("commit refs/heads/\xff\n", "line 1: the line is not UTF-8"),
        (COMMIT.replace("\nm\n", "\n\xff\n"), "line 5: the message is not UTF-8|line 4: the message"),
    ],
)  # fmt: skip
def test_a_stream_that_is_not_right_is_refused_with_its_line(copy: MemoryRepository, stream: str, why: str) -> None:
    with pytest.raises(Refusal, match=why):
        copy.import_git(BytesIO(stream.encode("latin-1")))
    assert copy.memories() == []


def test_a_message_over_the_limit_is_refused(copy: MemoryRepository) -> None:
    with pytest.raises(Refusal, match="line 1: the message is 2,000 bytes; the limit is 1,024"):
        copy.import_git(BytesIO(COMMIT.replace("data 2\nm", f"data 2000\n{'m' * 2000}").encode()))


def test_a_stream_that_breaks_off_anywhere_is_refused(memory: MemoryRepository, copy: MemoryRepository) -> None:
    base(memory)
    stream = b"".join(memory.export_git())
    for end in range(0, len(stream) - 1, 3):
        with pytest.raises(Refusal, match=r"line|open"):
            copy.import_git(BytesIO(stream[:end]))
        if end % 99 == 0:
            assert len(copy.log()) == 1
    copy.import_git(BytesIO(stream))
