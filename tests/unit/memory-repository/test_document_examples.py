"""The Python of the documents runs as it stands there: a page's blocks in order, as a reader would paste them."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from memory_repository import MemoryRepository
from thymos.memory_client import MemoryClient

DOCS = Path(__file__).parents[3] / "docs"
PAGES = ("memory-how-to.md", "merging.md", "memory-upkeep.md", "memory-export.md", "adapters.md")
NEEDS_MORE = {"ChatModel(": "a model that answers", "postgresql://": "a server", "thymos.connect()": "a suite"}
"""What stands in a block that cannot run here: it is compiled, and its imports are resolved."""


def blocks(page: str) -> list[str]:
    """The Python blocks of a page."""
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


def runnable(block: str) -> ast.Module:
    """What of a block runs here: all of it, or its imports."""
    tree = ast.parse(block)
    if any(words in block for words in NEEDS_MORE):
        tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return tree


@pytest.mark.sqlite
@pytest.mark.parametrize("page", PAGES)
def test_the_python_of_a_page_runs_as_it_stands(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    try:
        for number, block in enumerate(blocks(page), start=1):
            compile(block, f"{page}, block {number}", "exec")
            exec(compile(runnable(block), f"{page}, block {number}", "exec"), names)
    finally:
        for each in [each for each in names.values() if isinstance(each, MemoryRepository)]:
            each.close()


def verbs(row: str) -> list[list[str]]:
    """What the cells of a row of the table of verbs name: in the library, in an agent, on the command line."""
    return [re.findall(r"`([a-z_ -]+)`", cell) for cell in row.strip("|").split("|")[1:]]


def test_the_table_of_verbs_names_what_there_is_and_all_of_it() -> None:
    table = (DOCS / "memory-how-to.md").read_text().partition("## Which verb is called what")[2]
    rows = [verbs(row) for row in table.strip().splitlines()[2:]]
    library, agent, commands = ({name for row in rows for name in row[column]} for column in range(3))
    reference = set(re.findall(r"^#+ thymos memory ([a-z -]+)$", (DOCS / "reference/cli.md").read_text(), re.MULTILINE))
    groups = {name.partition(" ")[0] for name in reference if " " in name}
    besides = {"open", "close", "now", "read", "write", "embed", "resolve", "compact"}
    assert library == {name for name in dir(MemoryRepository) if not name.startswith("_")} - besides
    assert agent == {name for name in dir(MemoryClient) if not name.startswith("_")}
    options = {name for name in commands if name.startswith("--")}
    assert commands - options == reference - groups


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\(docs/([a-z-]+\.md)\)", (DOCS.parent / "README.md").read_text()))
    assert linked == {page.name for page in DOCS.glob("*.md")}


def test_every_page_has_python() -> None:
    assert all(blocks(page) for page in PAGES)
    assert any("ChatModel(" in block for block in blocks("merging.md"))
