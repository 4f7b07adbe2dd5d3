"""What a backup says of itself: `manifest.json`, with the size and SHA-256 of every file and of itself."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from thymos import __version__, subjects
from thymos.envelope import first_problem
from thymos.errors import Refusal, RefusalCode, ThymosError

FORMAT = 1
NAME = "manifest.json"
PARTIAL = ".partial"
"""Ends the name of a backup that is not whole."""
READ_BYTES = 1024 * 1024

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class BackedUpFile(_Part):
    """One file of the backup."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
    bytes: int
    sha256: Digest


class BackedUpStream(_Part):
    """A stream: its settings and state as the server said them."""

    name: str
    file: BackedUpFile
    config: dict[str, JsonValue]
    state: dict[str, JsonValue]

    @property
    def messages(self) -> int:
        """How many messages it held."""
        return int(str(self.state.get("messages", 0)))


class BackedUpStore(_Part):
    """The store of one service."""

    service: str
    file: BackedUpFile


class Manifest(_Part):
    """The whole backup. It is as of `taken_at`."""

    format: int = FORMAT
    thymos: str = __version__
    taken_at: AwareDatetime
    streams: tuple[BackedUpStream, ...]
    stores: tuple[BackedUpStore, ...]

    @property
    def files(self) -> tuple[BackedUpFile, ...]:
        """Every file but the manifest itself."""
        return (*(stream.file for stream in self.streams), *(store.file for store in self.stores))

    @property
    def size(self) -> int:
        """The size of all files, in bytes."""
        return sum(file.bytes for file in self.files)

    def stream(self, name: str) -> BackedUpStream:
        """A stream by its name. Raises KeyError."""
        return {found.name: found for found in self.streams}[name]

    def to_bytes(self) -> bytes:
        """The manifest's text, with the SHA-256 of what stands before it."""
        body = self.model_dump(mode="json")
        return (json.dumps({**body, "sha256": _digest(body)}, indent=1) + "\n").encode()


def read(folder: Path) -> Manifest:
    """The manifest of a backup.

    Raises:
        Refusal: `not_found`: there is no backup; `refused`: it is not whole, of another format, or was changed.
    """
    try:
        written = json.loads((folder / NAME).read_bytes())
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = "it ended before it was whole: take it again" if folder.name.endswith(PARTIAL) else ""
        raise Refusal(RefusalCode.NOT_FOUND, f"{folder} holds no backup", hint) from error
    except OSError as error:
        raise ThymosError(f"{folder / NAME} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _damaged(f"{NAME} is not JSON") from error
    if not isinstance(written, dict) or written.get("format") != FORMAT:
        found = written.get("format") if isinstance(written, dict) else None
        words = f"{folder} is of format {found}; this version reads format {FORMAT}"
        raise Refusal(RefusalCode.REFUSED, words, "use the version of Thymos that wrote it")
    digest = written.pop("sha256", None)
    if digest != _digest(written):
        raise _damaged(f"{NAME} is not as it was written")
    try:
        manifest = Manifest.model_validate(written)
    except ValidationError as error:
        raise _damaged(f"{NAME}: {first_problem(error)}") from error
    _check_whole(manifest)
    return manifest


def _check_whole(manifest: Manifest) -> None:
    """Raises Refusal (`refused`) when it is not all of a suite, each part once, or of a later version than this one."""
    if _version(manifest.thymos) > _version(__version__):
        words = f"the backup was written by Thymos {manifest.thymos}, this is {__version__}"
        raise Refusal(RefusalCode.REFUSED, words, "use that version, or a later one")
    if sorted(store.service for store in manifest.stores) != sorted(subjects.SERVICES):
        raise _damaged(f"{NAME} does not name one store of each of {', '.join(subjects.SERVICES)}")
    names = [stream.name for stream in manifest.streams]
    if subjects.EVENTS.name not in names or len(set(names)) != len(names):
        raise _damaged(f"{NAME} does not name each stream once, {subjects.EVENTS.name} among them")


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def check_files(folder: Path, manifest: Manifest, moved: Callable[[int], None]) -> None:
    """Raises Refusal (`refused`) that names the first file which is not as it was written."""
    for file in manifest.files:
        path = folder / file.name
        try:
            size = path.stat().st_size
            digest = sha256_of(path, moved)
        except FileNotFoundError as error:
            raise _damaged(f"{file.name} is missing") from error
        except OSError as error:
            raise ThymosError(f"{path} cannot be read: {error.strerror}") from error
        if size != file.bytes:
            raise _damaged(f"{file.name} has {size} bytes, {file.bytes} were written")
        if digest != file.sha256:
            raise _damaged(f"{file.name} is not as it was written (its SHA-256 differs)")


def sha256_of(path: Path, moved: Callable[[int], None]) -> str:
    """The SHA-256 of a file. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
            moved(len(part))
    return digest.hexdigest()


def _damaged(words: str) -> Refusal:
    return Refusal(RefusalCode.REFUSED, f"the backup is damaged: {words}", "use another one")


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
