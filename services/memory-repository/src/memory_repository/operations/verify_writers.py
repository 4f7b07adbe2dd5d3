"""Whether what is visible at a commit was written by the commit that is named as its writer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from memory_repository.storage import timeline
from memory_repository.storage.commits import CommitRow
from memory_repository.storage.store import Repository
from memory_repository.storage.timeline import Slot


class Writers:
    """Looks writers up, each once per part. Commits come after their parents, whose writers are right then: what a
    commit has from a parent, with the writer named there, need not be asked for again."""

    def __init__(self, repo: Repository) -> None:
        self._repo = repo
        self._places: dict[int, tuple[int, int, bool] | None] = {}

    def problems(
        self, commit: CommitRow, parents: Sequence[CommitRow], before: Mapping[str, Slot], after: Mapping[str, Slot]
    ) -> Iterator[str]:
        """Of a commit, that sees `after` where its first parent sees `before`."""
        left = [name for name, slot in after.items() if slot.commit_no != commit.no and slot != before.get(name)]
        for parent in parents[1:]:
            if left:
                view = timeline.view_of(self._repo.db, parent.place)
                there = timeline.visible_many(self._repo.db, view, left)
                left = [name for name in left if after[name] != there.get(name)]
        for name in left:
            if not self._wrote(after[name], name):
                yield f"{name} is not by the commit that is named as its writer"

    def _wrote(self, slot: Slot, name: str) -> bool:
        place = self._place(slot.commit_no)
        if place is None:
            return False
        line, seq, header = place
        # What a commit wrote of which only the header is left is nowhere told but in what it is said of.
        row = self._repo.db.execute(
            "SELECT version_id FROM entry WHERE line_id = ? AND memory_id = ? AND seq = ? AND commit_no = ?",
            (line, name, seq, slot.commit_no),
        ).fetchone()
        return header or (row is not None and row[0] == slot.version)

    def _place(self, number: int) -> tuple[int, int, bool] | None:
        if number not in self._places:
            row = self._repo.db.execute(
                "SELECT line_id, seq, line_id IN (SELECT line_id FROM attic) FROM commits"
                " WHERE commit_no = ? AND repo_id = ?",
                (number, self._repo.id),
            ).fetchone()
            self._places[number] = None if row is None else (row[0], row[1], bool(row[2]))
        return self._places[number]
