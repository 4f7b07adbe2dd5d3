"""The examples: one per message class, valid, current, and readable for ever."""

import json
from pathlib import Path

import pytest

from thymos.catalogue import messages
from thymos.contract.addresses import file_stem
from thymos.envelope import Envelope, decode
from thymos.examples import EXAMPLES, example_of
from thymos.message import Message

PROTO = Path(__file__).parents[2] / "proto"
ON_DISK = sorted((PROTO / "examples").glob("*.json"))


@pytest.mark.parametrize("message_class", messages(), ids=file_stem)
def test_every_message_class_has_an_example(message_class: type[Message]) -> None:
    assert isinstance(example_of(message_class).data, message_class)


def test_no_class_has_two_examples() -> None:
    assert len(EXAMPLES) == len(messages())


@pytest.mark.parametrize("path", ON_DISK, ids=lambda path: path.stem)
def test_what_was_ever_published_parses_for_ever(path: Path) -> None:
    """Also an example of a version that nobody writes any more: delete none."""
    published = json.loads(path.read_text())
    read = decode(path.read_bytes(), published["subject"])
    assert read.id == published["id"]
    assert f"{read.data.NAME}.v{read.data.VERSION}" == path.stem
    assert json.loads(read.to_bytes())["data"].items() >= published["data"].items(), "nothing was lost on the way"


@pytest.mark.parametrize("envelope", EXAMPLES, ids=lambda envelope: envelope.type)
def test_an_example_survives_the_wire(envelope: Envelope[Message]) -> None:
    assert decode(envelope.to_bytes(), envelope.subject) == envelope
