"""Where a memory's file lies in a git tree: one path per id, on every system."""

import re
from itertools import combinations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from memory_repository.core.transfer.paths import git_ref_of, memory_id_of, named_by, path_of
from thymos.errors import Refusal

IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:@/+-]{0,199}", fullmatch=True).map(str.strip)
ODD_IDS = st.text("aAbmd.:/-", min_size=1, max_size=12).filter(lambda text: text[0].isalnum())
REF_NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,199}", fullmatch=True).map(str.strip)
DEVICE = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")


@pytest.mark.parametrize(
    ("memory_id", "path"),
    [
        ("refunds", "memories/refunds.md"),
        ("customers/anna@x.org", "memories/customers/anna@x.org.md"),
        ("UserName", "memories/!user!name.md"),
        ("run:2026-01-01", "memories/run%3a2026-01-01.md"),
        ("a/../b", "memories/a/%2e%2e/b.md"),
        ("a/.git/hooks", "memories/a/%2egit/hooks.md"),
        ("a/-rf", "memories/a/%2drf.md"),
        ("a//b/", "memories/a%2f/b%2f.md"),
        ("a.md/b", "memories/a%2emd/b.md"),
        ("end.", "memories/end%2e.md"),
        ("con", "memories/%63on.md"),
        ("nul.txt/x", "memories/%6eul.txt/x.md"),
    ],
)
def test_a_memory_lies_where_its_id_says_and_nowhere_unsafe(memory_id: str, path: str) -> None:
    assert path_of(memory_id) == path
    assert memory_id_of(path) == memory_id


@given(IDS | ODD_IDS)
@example("A" * 200)
@example("a" * 196 + ":con")
@example("a" * 196 + "A.md")
@example("a" * 199 + "/")
@example("x" * 150 + "-" * 50)
def test_every_id_has_a_path_of_its_own_that_every_system_can_hold(memory_id: str) -> None:
    path = path_of(memory_id)
    assert memory_id_of(path) == memory_id
    assert path == path.lower()
    for part in path.split("/"):
        assert 0 < len(part) <= 255
        assert re.fullmatch(r"[a-z0-9._@+!%-]+", part)
        assert part[0] not in ".-"
        assert part[-1] != "."
        assert not DEVICE.fullmatch(part)
    assert all(not folder.endswith(".md") for folder in path.split("/")[:-1])


@given(st.lists(ODD_IDS, min_size=2, max_size=8, unique=True))
def test_no_two_ids_share_a_path_and_none_is_the_folder_of_another(memory_ids: list[str]) -> None:
    paths = [path_of(memory_id) for memory_id in memory_ids]
    for one, other in combinations(paths, 2):
        assert one != other
        assert not one.startswith(f"{other}/")
        assert not other.startswith(f"{one}/")


@pytest.mark.parametrize(
    "path",
    [
        "README.md", "memories/a", "memories/.md", "memories/A.md", "memories/../a.md", "memories/a%2eb.md",
        "memories//a.md", "memories/a b.md", "memories/%zz.md", "memories/%61.md", "memories/a%/b.md",
        '"memories/a.md"',
    ],
)  # fmt: skip
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(Refusal) as error:
        memory_id_of(path)
    assert error.value.code == "invalid"


def test_a_path_that_is_almost_right_is_told_what_it_should_be() -> None:
    with pytest.raises(Refusal, match=r"memories/!readme\.md"):
        memory_id_of("memories/Readme.md")


@given(st.sampled_from(["tag", "snapshot"]), REF_NAMES)
@example("tag", "snapshot")
@example("tag", "a..b.lock")
def test_every_tag_and_snapshot_has_a_ref_that_git_allows(type_: str, name: str) -> None:
    git_ref = git_ref_of(type_, name)
    assert named_by(git_ref) == (type_, name)
    assert git_ref == git_ref.lower()
    # The rules of git-check-ref-format.
    assert not re.search(r"\.\.|[\x00-\x20~^:?*\[\\\x7f]|@\{|//|/\.|\.lock(/|$)|\.$|/$", git_ref)


def test_branches_keep_their_names_and_names_of_git_are_taken_as_they_are() -> None:
    assert git_ref_of("branch", "main") == "refs/heads/main"
    assert named_by(git_ref_of("branch", "Idea")) == ("branch", "Idea")
    assert named_by("refs/heads/Idea") == ("branch", "Idea")
    with pytest.raises(Refusal, match="neither branch nor tag"):
        named_by("refs/remotes/origin/main")
