"""What a real git holds: an exported history in a repository of its own, asked with git's own commands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

CALM = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "person",
    "GIT_AUTHOR_EMAIL": "person@example.org",
    "GIT_COMMITTER_NAME": "person",
    "GIT_COMMITTER_EMAIL": "person@example.org",
}
"""Nothing of this machine's settings has a part in a test."""


class GitCopy:
    """A git repository in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self.run("init", "--quiet", "--initial-branch=main")

    def run(self, *command: str, given: bytes = b"") -> str:
        """What a command of git says. Raises CalledProcessError."""
        return self.raw(*command, given=given).decode()

    def raw(self, *command: str, given: bytes = b"") -> bytes:
        """The same, as bytes."""
        done = subprocess.run(
            ["git", *command],
            cwd=self._folder,
            input=given,
            capture_output=True,
            check=True,
            env={**os.environ, **CALM},
        )
        return done.stdout

    def take_in(self, stream: Iterable[bytes]) -> None:
        """Import a stream, and let git check everything that came in."""
        self.run("fast-import", "--quiet", given=b"".join(stream))
        assert self.run("fsck", "--strict", "--no-dangling") == ""

    def stream(self) -> bytes:
        """What git exports."""
        return self.raw("fast-export", "--all", "--use-done-feature")

    def commits(self) -> dict[str, tuple[str, list[str]]]:
        """By the commit's id in Thymos: its id in git, and the ids of its parents in Thymos, in order."""
        rows = self.run("log", "--all", "--format=%H|%P|%(trailers:key=Thymos-Commit,valueonly,separator=)").split("\n")
        parts = [row.split("|") for row in rows if row]
        known = {git_id: thymos_id for git_id, _, thymos_id in parts}
        return {thymos: (git, [known[parent] for parent in above.split()]) for git, above, thymos in parts}

    def refs(self) -> dict[str, str]:
        """Every ref, and the commit in Thymos that it stands for."""
        known = {git: thymos for thymos, (git, _) in self.commits().items()}
        shown = self.run("for-each-ref", "--format=%(refname) %(*objectname)%(objectname)")
        return {name: known[git[:40]] for name, git in (row.split(" ") for row in shown.splitlines())}

    def files(self, git_ids: Iterable[str]) -> dict[str, Mapping[str, bytes]]:
        """The files of each commit."""
        trees = {commit: self._listed(commit) for commit in git_ids}
        blobs = sorted({blob for tree in trees.values() for blob in tree.values()})
        contents = dict(zip(blobs, self._contents(blobs), strict=True))
        return {commit: {path: contents[blob] for path, blob in tree.items()} for commit, tree in trees.items()}

    def _listed(self, commit: str) -> dict[str, str]:
        rows = self.run("ls-tree", "-r", "-z", commit).split("\0")[:-1]
        return {path: facts.split()[2] for facts, path in (row.split("\t") for row in rows)}

    def _contents(self, blobs: list[str]) -> Iterable[bytes]:
        answer = self.raw("cat-file", "--batch", given="".join(f"{blob}\n" for blob in blobs).encode())
        for _ in blobs:
            head, _, answer = answer.partition(b"\n")
            size = int(head.split()[2])
            yield answer[:size]
            answer = answer[size + 1 :]
