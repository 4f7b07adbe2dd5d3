"""A model over HTTP, against a real server that speaks the protocol well, badly, slowly, or too much."""

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import timedelta

import pytest

from thymos.config import Llm
from thymos.errors import ConfigError
from thymos.llm import ModelError, Prompt
from thymos.llm import chat as chat_module
from thymos.llm.chat import ChatModel
from thymos.llm.configured import model_of
from thymos.llm.prompt import ANSWER_BYTES_MAX, PROMPT_BYTES_MAX

from .model_server import Behaviour, Exchange, model_server

PROMPT = Prompt("settle it", "what?")
SCHEMA = {"type": "object"}
KEY = "sk-secret-key-0123456789"


async def asked(behave: Behaviour, timeout: timedelta = timedelta(seconds=20), key: str = "") -> str:
    with model_server(behave) as server:
        return await ChatModel(server.url, "small", key, timeout).complete(PROMPT, SCHEMA)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_module, "PAUSE_SECONDS", 0.001)


async def test_a_model_is_asked_and_answers() -> None:
    with model_server(lambda exchange: exchange.says("an answer, — ünïcode")) as server:
        model = ChatModel(f"{server.url}/", "small", KEY, tokens_max=77)
        assert await model.complete(PROMPT, SCHEMA) == "an answer, — ünïcode"
        (exchange,) = server.exchanges
    assert exchange.path == "/v1/chat/completions"
    assert exchange.headers["Authorization"] == f"Bearer {KEY}"
    request = exchange.request_json
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("small", 77, 0)
    assert [message["content"] for message in request["messages"]] == ["settle it", "what?"]
    assert request["response_format"]["json_schema"]["schema"] == SCHEMA


async def test_without_a_key_none_is_sent() -> None:
    with model_server(lambda exchange: exchange.says("x")) as server:
        await ChatModel(server.url, "small").complete(PROMPT, SCHEMA)
        assert server.exchanges[0].headers["Authorization"] is None


async def test_a_server_that_knows_no_structured_answers_is_asked_without() -> None:
    def behave(exchange: Exchange) -> None:
        if "response_format" in exchange.request_json:
            exchange.sends(400, b'{"error": {"message": "response_format is not supported"}}')
        else:
            exchange.says("plain")

    assert await asked(behave) == "plain"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_what_may_pass_is_tried_again(status: int) -> None:
    with model_server(large) as server:
        server.behave = lambda exchange: (
            exchange.says("at last") if len(server.exchanges) == 3 else exchange.sends(status, b"busy")
        )
        assert await ChatModel(server.url, "small").complete(PROMPT, SCHEMA) == "at last"


async def test_attempts_end() -> None:
    with model_server(lambda exchange: exchange.sends(503, b"over capacity")) as server:
        with pytest.raises(ModelError, match="it answered 503: over capacity"):
            await ChatModel(server.url, "small").complete(PROMPT, SCHEMA)
        assert len(server.exchanges) == chat_module.ATTEMPTS


async def test_what_does_not_pass_is_not_tried_again_and_the_key_is_not_repeated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}\x1b[31m"}}).encode()
    with model_server(lambda exchange: exchange.sends(401, body)) as server:
        model = ChatModel(server.url, "small", KEY)
        with pytest.raises(ModelError, match="401: Incorrect API key provided: …") as caught:
            await model.complete(PROMPT, SCHEMA)
        assert len(server.exchanges) == 1
    for text in (str(caught.value), repr(model), caplog.text):
        assert KEY not in text
    assert "\x1b" not in str(caught.value)


def large(exchange: Exchange) -> None:
    exchange.sends(200, b"x" * (chat_module.RESPONSE_BYTES_MAX + 10))


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (lambda exchange: exchange.sends(200, b"<html>"), "no chat completion"),
        (lambda exchange: exchange.sends(200, b'{"choices": []}'), "no chat completion"),
        (lambda exchange: exchange.sends(200, b"[" * 100_000), "no chat completion"),
        (lambda exchange: exchange.says(None), "no text"),
        (lambda exchange: exchange.says({"a": 1}), "no text"),
        (lambda exchange: exchange.says("half an ans", finish="length"), "cut off"),
        (lambda exchange: exchange.says("x" * (ANSWER_BYTES_MAX + 1)), "the limit is"),
        (large, "longer than"),
        (lambda exchange: exchange.sends(200, b"{}", declared=500), "does not speak HTTP|gave no answer"),
        (lambda exchange: exchange.sends(302, b"elsewhere"), "it answered 302"),
        (lambda exchange: exchange.wfile.write(b"SSH-2.0\r\n\r\n"), "does not speak HTTP"),
    ],
)
async def test_what_is_no_answer_is_an_error(behave: Callable[[Exchange], None], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        await asked(behave)


async def test_nobody_there_is_an_error() -> None:
    with model_server(large) as server:
        url = server.url
    with pytest.raises(ModelError, match="refused"):
        await ChatModel(url, "small").complete(PROMPT, SCHEMA)


async def test_a_server_that_drips_does_not_hold_anybody_beyond_the_time() -> None:
    with model_server(lambda exchange: exchange.drips()) as server:
        with pytest.raises(ModelError, match=r"not within 0\.2 s"):
            await ChatModel(server.url, "small", timeout=timedelta(seconds=0.2)).complete(PROMPT, SCHEMA)
        assert await asyncio.to_thread(server.hung_up.wait, 20), "the connection is shut, and the thread free"


async def test_a_question_that_nobody_waits_for_any_more_ends() -> None:
    with model_server(lambda exchange: exchange.drips()) as server:
        asking = asyncio.create_task(ChatModel(server.url, "small").complete(PROMPT, SCHEMA))
        while not server.exchanges:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert await asyncio.to_thread(server.hung_up.wait, 20)


async def test_a_prompt_that_is_too_long_is_not_sent() -> None:
    with model_server(lambda exchange: exchange.says("x")) as server:
        with pytest.raises(ModelError, match="the limit is"):
            await ChatModel(server.url, "small").complete(Prompt("", "x" * (PROMPT_BYTES_MAX + 1)), SCHEMA)
        assert server.exchanges == []


def test_the_configuration_names_the_model_and_the_environment_holds_the_key() -> None:
    settings = Llm(url="https://models.example/v1", model="small", api_key_env="MY_KEY", max_tokens=9)
    assert model_of(settings, {"MY_KEY": f"{KEY}\n"}) == ChatModel(
        "https://models.example/v1", "small", KEY, timedelta(seconds=60), 9
    )
    assert model_of(Llm(), {}) is None


@pytest.mark.parametrize("key", ["", "two words", "ümlaut", "line\nbreak"])
def test_a_key_that_is_none_is_said_and_not_repeated(key: str) -> None:
    settings = Llm(url="https://models.example/v1", model="small", api_key_env="MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY") as caught:
        model_of(settings, {"MY_KEY": key})
    assert not key or key not in str(caught.value)
