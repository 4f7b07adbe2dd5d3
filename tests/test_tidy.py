"""Rules that would otherwise be prose. Each is a function from a file to its violations, and is shown to fail once.

Which modules are core stands in pyproject.toml: the contract `core` of import-linter, and `shell` for the others.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("shared", "services", "tests", "benchmarks", "examples", ".ci")
MODULE_LINES_MAX = 500
FUNCTION_LINES_MAX = 70
SERVICES = ("metrics_collector", "decision_engine", "memory_repository", "worktree_scaler")
NOT_TEXT = {".db", ".png", ".svg", ".gz", ".whl"}
SKIPPED_FOLDERS = {"__pycache__", "node_modules", "dist", "build"}


@cache
def files(suffix: str = "") -> tuple[Path, ...]:
    """Files of the repository, without what tools and git leave behind."""

    def walk(folder: Path) -> Iterator[Path]:
        for path in sorted(folder.iterdir()):
            hidden = path.name.startswith(".") and path.name not in (".ci", ".gitignore", ".dockerignore")
            if hidden or path.name in SKIPPED_FOLDERS or path.name.endswith(".egg-info"):
                continue
            if path.is_dir():
                yield from walk(path)
            elif path.suffix not in NOT_TEXT:
                yield path

    return tuple(path for path in walk(ROOT) if path.name.endswith(suffix))


def python_files() -> list[Path]:
    return [path for path in files(".py") if path.relative_to(ROOT).parts[0] in SOURCES]


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def architecture() -> tuple[frozenset[str], frozenset[str]]:
    """Core and shell modules, as pyproject.toml declares them; a package there stands for all that is in it."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contract = next(c for c in tools["importlinter"]["contracts"] if c.get("id") == "core")
    return whole(contract["source_modules"]), whole(tools["thymos"]["architecture"]["shell"])


def whole(declared: Sequence[str]) -> frozenset[str]:
    """Declared modules, and what lies in those that are packages."""
    modules = {module_name(path) for path in files(".py") if "src" in path.relative_to(ROOT).parts}
    inside = {name for name in modules for package in declared if name.startswith(f"{package}.")}
    return frozenset(declared) | inside


def module_name(path: Path) -> str:
    """`memory_repository.core.merge` for services/memory-repository/src/memory_repository/core/merge.py."""
    inside = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(inside[inside.index("src") + 1 :]).removesuffix(".__init__")


def service_modules() -> set[str]:
    names = {module_name(path) for path in files(".py") if path.relative_to(ROOT).parts[0] == "services"}
    return names - set(SERVICES)


def core_files() -> list[Path]:
    core, _ = architecture()
    sources = [path for path in files(".py") if "src" in path.relative_to(ROOT).parts]
    return [path for path in sources if module_name(path) in core]


# --- size and names -------------------------------------------------------------------------------------------------


def long_functions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = ast.get_docstring(node) is not None
            docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            lines = (node.end_lineno or 0) - node.lineno + 1 - docstring
            if lines > FUNCTION_LINES_MAX:
                yield f"{node.name} has {lines} lines without its docstring; at most {FUNCTION_LINES_MAX}"


BANNED_NAME = re.compile(r"(^|_|-)(utils?|common|helpers?|models?|managers?|misc)$")


def test_modules_are_short() -> None:
    counts = {shown(path): path.read_text(encoding="utf-8").count("\n") for path in python_files()}
    assert {name: lines for name, lines in counts.items() if lines > MODULE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    found = [f"{shown(path)}: {problem}" for path in python_files() for problem in long_functions(tree_of(path))]
    assert found == []


def test_files_are_named_by_their_noun() -> None:
    named = [
        shown(p) for p in files() if any(BANNED_NAME.search(part) for part in p.relative_to(ROOT).with_suffix("").parts)
    ]
    assert named == []


# --- one place for each thing ---------------------------------------------------------------------------------------

SUBJECT = re.compile(r"^thymos\.(telemetry|metrics|event|command|task|dead|request)\.(?!.*\.v\d+$)")
STREAM = re.compile(r"\bTHYMOS_(TELEMETRY|METRICS|EVENTS|COMMANDS|TASKS|DEAD_LETTERS)\b")


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """String literals with their lines, without docstrings and other text that stands alone."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value


def subject_texts(tree: ast.Module) -> Iterator[str]:
    for line, text in texts(tree):
        if SUBJECT.search(text) or STREAM.search(text):
            yield f"line {line}: {text!r} belongs into thymos/subjects.py"


def test_subjects_and_streams_are_named_in_one_file() -> None:
    code = [path for path in python_files() if path.relative_to(ROOT).parts[0] in ("shared", "services")]
    found = [
        f"{shown(path)}: {problem}"
        for path in code
        if shown(path) != "shared/src/thymos/subjects.py"
        for problem in subject_texts(tree_of(path))
    ]
    assert found == []


def test_the_nats_client_is_known_to_its_adapter_only() -> None:
    code = [path for path in python_files() if path.relative_to(ROOT).parts[0] in ("shared", "services")]
    knowing = {shown(path) for path in code if any(name.split(".")[0] == "nats" for name, _ in imports(tree_of(path)))}
    adapter = ("nats_bus.py", "nats_client.py", "nats_follow.py", "nats_room.py", "nats_snapshot.py", "provision.py")
    assert knowing == {f"shared/src/thymos/{name}" for name in adapter}


# --- nothing of one machine, nothing unfinished ---------------------------------------------------------------------

HOSTS = ("pypi" + ".org", "pythonhosted" + ".org", "npmjs" + ".org", "crates" + ".io", "proxy.golang" + ".org")
FOREIGN = re.compile(
    "|".join(
        [*(re.escape(host) for host in HOSTS), r"(?<![\w.$}])/(work|opt/pypi|Users|tmp/[\w-]*notes)/", r"/home/\w+/"]
    )
)
UNFINISHED = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")


def test_no_registry_and_no_path_of_one_machine_is_named() -> None:
    found = []
    for path in files():
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if FOREIGN.search(line) or (path.suffix == ".py" and UNFINISHED.search(line)):
                found.append(f"{shown(path)}:{number}: {line.strip()[:100]}")
    assert found == []


# --- cores are pure -------------------------------------------------------------------------------------------------

BANNED_CALLS = {
    "open", "print", "input", "exec", "eval", "breakpoint", "__import__",  # I/O
    "hash", "id",  # differ from run to run
}  # fmt: skip
BANNED_ATTRIBUTES = {
    ("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today"),
    ("uuid", "uuid1"), ("uuid", "uuid4"), ("random", "SystemRandom"), ("io", "open"), ("io", "FileIO"),
}  # fmt: skip
BANNED_IMPORTS = {"os", "time", "secrets", "sqlite3", "asyncio", "subprocess", "socket", "pathlib", "logging", "sys"}


def imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(module, name) of every import, wherever it stands; the name is empty for `import module`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)


def impurities(tree: ast.Module) -> Iterator[str]:
    """Clocks, ids, randomness and I/O."""
    for module, name in imports(tree):
        if module.split(".")[0] in BANNED_IMPORTS:
            yield f"imports {module}"
        elif (module.split(".")[0], name) in BANNED_ATTRIBUTES or (module == "random" and name not in ("", "Random")):
            yield f"imports {name} from {module}"
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)) if name in BANNED_CALLS:
                yield f"line {node.lineno}: calls {name}"
            case ast.Call(func=ast.Name(id="Random") | ast.Attribute(attr="Random"), args=[]):
                yield f"line {node.lineno}: randomness without a seed"
            case ast.Attribute(value=ast.Name(id="random"), attr=name) if name != "Random":
                yield f"line {node.lineno}: random.{name} has no seed of its own"
            case ast.Attribute(value=ast.Name(id=owner) | ast.Attribute(attr=owner), attr=name) if (
                owner,
                name,
            ) in BANNED_ATTRIBUTES:
                yield f"line {node.lineno}: uses {owner}.{name}"
            case ast.Attribute(attr="urandom" | "getenv" | "environ"):
                yield f"line {node.lineno}: uses {node.attr}"


def shell_imports(path: Path, tree: ast.Module) -> Iterator[str]:
    """What a core module imports of our own that is not core."""
    core, _ = architecture()
    for module, name in imports(tree):
        if module.split(".")[0] not in (*SERVICES, "thymos"):
            continue
        imported = f"{module}.{name}" if module in (*SERVICES, "thymos") else module
        if imported not in core | CORE_MAY_USE:
            yield f"{module_name(path)} is core and imports {imported}, which is not"


CORE_MAY_USE = {
    "thymos.catalogue",  # imports the modules that declare messages
    "thymos.config",  # whose classes are values; reading files and the environment is `load`, which a core never calls
}


def test_every_module_of_a_service_is_declared_core_or_shell() -> None:
    core, shell = architecture()
    declared = {name for name in core | shell if name.split(".")[0] in SERVICES}
    assert service_modules() - declared == set(), "declare it in pyproject.toml: contract `core`, or `shell`"
    assert declared - service_modules() == set(), "pyproject.toml declares a module that does not exist"
    assert core & shell == set()


def test_cores_have_no_clock_no_ids_no_randomness_and_no_io() -> None:
    found = [f"{shown(path)}: {problem}" for path in core_files() for problem in impurities(tree_of(path))]
    assert found == []


def test_cores_use_cores_only() -> None:
    assert [problem for path in core_files() for problem in shell_imports(path, tree_of(path))] == []


# --- dependencies ---------------------------------------------------------------------------------------------------


def test_each_package_declares_what_it_imports() -> None:
    shared = tomllib.loads((ROOT / "shared/pyproject.toml").read_text())["project"]
    of_thymos = [*shared["dependencies"], *(d for extra in shared["optional-dependencies"].values() for d in extra)]
    for manifest in [ROOT / "shared/pyproject.toml", *ROOT.glob("services/*/pyproject.toml")]:
        project = tomllib.loads(manifest.read_text())["project"]
        extras = project.get("optional-dependencies", {}).values()
        own = [*project["dependencies"], *(line for extra in extras for line in extra)]
        declared = {imported_as(re.split(r"[<>=\[]", line)[0]) for line in (*of_thymos, *own)}
        names = {name.split(".")[0] for p in (manifest.parent / "src").rglob("*.py") for name, _ in imports(tree_of(p))}
        undeclared = {name for name in names if name not in declared and is_third_party(name)}
        assert undeclared == set(), shown(manifest)


def test_each_direct_dependency_is_explained() -> None:
    listed = set(re.findall(r"^\| `([\w-]+)`", (ROOT / "docs/dependencies.md").read_text(), re.MULTILINE))
    manifests = [ROOT / "pyproject.toml", ROOT / "shared/pyproject.toml", *ROOT.glob("services/*/pyproject.toml")]
    direct: set[str] = set()
    for manifest in map(tomllib.loads, (path.read_text() for path in manifests)):
        extras = manifest["project"].get("optional-dependencies", {}).values()
        groups = manifest.get("dependency-groups", {}).values()
        lines = [*manifest["project"]["dependencies"], *(line for lines in (*extras, *groups) for line in lines)]
        direct.update(re.split(r"[<>=\[]", line)[0] for line in lines)
    assert listed == direct - {"thymos"}


def imported_as(package: str) -> str:
    """The top-level module of a package."""
    names = {"nats-py": "nats", "opentelemetry-sdk": "opentelemetry", "langgraph-checkpoint": "langgraph"}
    return names.get(package, package.replace("-", "_"))


def is_third_party(name: str) -> bool:
    ours = (*SERVICES, "thymos")
    return name not in sys.stdlib_module_names and name not in ours and name != "pydantic_core"  # a part of pydantic


# --- each rule fails when it is broken ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "open('x')",
        "print('x')",
        "import time",
        "from os import environ",
        "import logging",
        "from datetime import datetime\nnow = datetime.now()",
        "import datetime\nnow = datetime.datetime.now(datetime.UTC)",
        "import datetime as clock\nnow = clock.datetime.now(clock.UTC)",
        "import uuid\nnew = uuid.uuid4()",
        "from uuid import uuid4",
        "import random\nrandom.shuffle([])",
        "from random import shuffle",
        "import random\nrandom.Random()",
        "from random import Random\nRandom()",
        "def f():\n    import asyncio",
        "hash('x')",
    ],
)
def test_an_impure_core_is_noticed(code: str) -> None:
    assert list(impurities(ast.parse(code))) != []


@pytest.mark.parametrize(
    "code",
    [
        "from datetime import datetime\ndef f(now: datetime) -> str:\n    return now.isoformat()",
        "import random\ndef f(seed: int) -> random.Random:\n    return random.Random(seed)",
        "import uuid\nuuid.uuid5(uuid.NAMESPACE_URL, 'x')",
        "import hashlib\nhashlib.sha256(b'')",
        "class A:\n    def open(self) -> None: ...\nA().open()",
    ],
)
def test_a_pure_core_is_left_alone(code: str) -> None:
    assert list(impurities(ast.parse(code))) == []


def test_the_other_rules_notice_too() -> None:
    assert list(long_functions(ast.parse("def f():\n" + "    x = 1\n" * FUNCTION_LINES_MAX)))
    assert not list(long_functions(ast.parse("def f():\n" + '    """\n' + "    long\n" * 90 + '    """\n')))
    assert list(subject_texts(ast.parse("x = f'thymos.event.{tenant}.*.branch.merged'")))
    assert list(subject_texts(ast.parse("x = 'THYMOS_EVENTS'")))
    assert UNFINISHED.search("# TO" + "DO: later")
    assert not list(subject_texts(ast.parse('"""On thymos.event.<tenant>."""\nx = "thymos.task.finished.v1"')))
    for name in ("utils", "test_helpers", "models", "agent_manager", "common"):
        assert BANNED_NAME.search(name), name
    assert not BANNED_NAME.search("remodels_of")
    assert FOREIGN.search("see https://" + HOSTS[0] + "/simple")
    assert FOREIGN.search('open("/wor' + 'k/main/x")')
    assert not FOREIGN.search("a/{0}/b and ${{DIR}}/{0}/x".format("work"))
    core, _ = architecture()
    merge = next(path for path in core_files() if module_name(path) == "memory_repository.core.merge")
    assert list(shell_imports(merge, ast.parse("from memory_repository.storage.store import Store")))
    assert list(shell_imports(merge, ast.parse("from thymos import nats_bus")))
    assert not list(
        shell_imports(merge, ast.parse("from memory_repository.core import limits\nfrom thymos import events"))
    )
    assert "memory_repository.core.merge" in core
