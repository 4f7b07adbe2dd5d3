"""The bus port on NATS JetStream, over nats-py.

Pulling is done here rather than with nats-py's `fetch`: that one waits for a full batch or the timeout once a
message has come, and does not say when the durable is gone. What is asked of the server is one pull request at a
time per subscription; messages beyond what the caller wanted wait for the next `fetch`.
"""

import asyncio
import contextlib
import json
import logging
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import nats
import nats.micro
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as CoreSubscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.js import JetStreamContext, api
from nats.js.errors import APIError, NotFoundError
from nats.micro.request import Request as MicroRequest
from nats.micro.service import EndpointConfig, ServiceConfig

from thymos import bus, nats_room
from thymos.bus import ConsumerMissingError, PublishAck, QueueDepth, RequestHandler, Stored
from thymos.errors import NoAnswerError, PoisonError, TransientError, UnavailableError
from thymos.nats_client import NatsClient
from thymos.nats_follow import follow
from thymos.nats_stored import stored_at, stored_message
from thymos.subjects import EVENTS, Consumer, Stream

log = logging.getLogger(__name__)

PUBLISH_TIMEOUT_SECONDS = 5.0
ACK_TIMEOUT_SECONDS = 5.0
PULL_GRACE_SECONDS = 1.0
READING_LOOK_SECONDS = 2.0
HEADER_BYTES = 12
"""The version line and the end of a header block."""
RECONNECT_SECONDS = 0.25
PULL_BYTES_MAX = 8 * 1024 * 1024
"""Bytes on their way at once: the server cuts a client off that has more than 64 MiB waiting for it."""
VERSION = "0.1.0"
TERMINATED = "settled by Thymos"
"""Why a delivery of ours was terminated, in the server's advisory: its dead letter was stored before."""

_ENDS_A_PULL = ("Batch Completed", "Message Size Exceeds", "Server Shutdown", "Leadership Change")
"""Reasons to end a pull request that are no fault: the next one is asked for at once."""
NO_MESSAGE_FOUND = 10037
_NOT_IN_HEADERS = re.compile(r"[\x00-\x1f\x7f]|\s$")  # made one another on the way: two ids would be one
_PAYLOAD_TOO_LARGE = "maximum payload exceeded"


async def connect(url: str, name: str, wait: timedelta | None = timedelta(seconds=5)) -> "NatsBus":
    """Connect, trying for `wait` (None: for ever). Afterwards the client reconnects by itself, for ever.

    Args:
        url: a server, or several of one cluster separated by commas: whichever answers is used.
        name: of the connection, as the server shows it.
        wait: how long it may take.

    Raises:
        UnavailableError: nobody answered at `url` in time.
    """
    said: list[str] = []
    connected = False

    async def on_error(error: Exception) -> None:
        words = _words(error)
        if connected or (wait is None and words not in said):
            log.warning("bus: %s", words if connected else f"nobody answers at {url} yet ({words}); trying on")
        if words not in said:
            said.append(words)

    client = NatsClient()
    trying = client.connect(
        [server.strip() for server in url.split(",")],
        name=name,
        connect_timeout=2,
        max_reconnect_attempts=-1,
        reconnect_time_wait=cast(Any, RECONNECT_SECONDS),
        error_cb=on_error,
    )
    try:
        await asyncio.wait_for(trying, None if wait is None else wait.total_seconds())
    except (TimeoutError, OSError, NatsError, ValueError) as error:
        raise UnavailableError(
            f"no NATS server answers at {url} ({said[-1] if said else _words(error)}); start one with `thymos up`, "
            "or name yours with --nats or THYMOS_NATS_URL"
        ) from error
    connected = True
    return NatsBus(client, url)


class NatsBus:
    """See `thymos.bus.Bus`."""

    def __init__(self, client: Client, url: str) -> None:
        self.client = client
        self.url = url
        self.jetstream: JetStreamContext = client.jetstream(timeout=PUBLISH_TIMEOUT_SECONDS)
        self._services: list[Any] = []
        self._watching = asyncio.create_task(self._watch_reading())

    @property
    def connected(self) -> bool:
        """Whether the server is there right now."""
        return self.client.is_connected

    async def publish(
        self, subject: str, body: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> PublishAck:
        own_id = _NOT_IN_HEADERS.sub(lambda found: f"%{ord(found[0]):02x}", message_id)
        all_headers = {**(headers or {}), bus.MESSAGE_ID_HEADER: own_id}
        # nats-py looks at the body alone; with the headers too large the server would hang up on us.
        size = len(body) + sum(len(name) + len(value) + 4 for name, value in all_headers.items()) + HEADER_BYTES
        if size > self.client.max_payload:
            raise PoisonError(f"{size} bytes on {subject}; the server takes at most {self.client.max_payload}")
        try:
            ack = await self.jetstream.publish(subject, body, timeout=PUBLISH_TIMEOUT_SECONDS, headers=all_headers)
        except NatsError as error:
            if _PAYLOAD_TOO_LARGE in str(error):
                raise PoisonError(f"{len(body)} bytes on {subject}: {error}") from error
            raise TransientError(f"not stored on {subject}: {_words_of_silence(error)}") from error
        except (TimeoutError, OSError) as error:
            raise TransientError(f"not stored on {subject}: {_words(error)}") from error
        return PublishAck(ack.seq, bool(ack.duplicate))

    async def subscribe(self, consumer: Consumer) -> "NatsSubscription":
        info = await self._info(consumer)
        if consumer.ordered and consumer.service and info.num_ack_pending and info.delivered:
            # A process that was killed had this in hand: it comes again now, not only when `ack_wait` is over.
            at = f"{info.delivered.stream_seq}.{info.delivered.consumer_seq}"
            await self.client.publish(f"$JS.ACK.{consumer.stream.name}.{consumer.durable}.1.{at}.0.0", b"-NAK")
        inbox = self.client.new_inbox()
        core = await self.client.subscribe(inbox, pending_msgs_limit=-1, pending_bytes_limit=-1)
        return NatsSubscription(self.client, consumer, core, inbox)

    async def _info(self, consumer: Consumer) -> api.ConsumerInfo:
        try:
            info: api.ConsumerInfo = await self.jetstream.consumer_info(consumer.stream.name, consumer.durable)
            return info
        except NotFoundError as error:
            raise ConsumerMissingError(
                f"consumer {consumer.durable} on {consumer.stream.name} does not exist; run `thymos provision`"
            ) from error
        except (TimeoutError, NatsError, OSError) as error:
            raise TransientError(f"JetStream does not answer: {_words(error)}") from error

    async def request(self, subject: str, body: bytes, timeout: timedelta) -> bytes:
        try:
            return (await self.client.request(subject, body, timeout=timeout.total_seconds())).data
        except NoRespondersError as error:
            raise UnavailableError(f"nobody answers {subject}: is the service running? (`thymos doctor`)") from error
        except (TimeoutError, NatsError, OSError) as error:
            raise NoAnswerError(f"no answer on {subject}: {_words(error)}") from error

    async def serve(self, service: str, endpoints: Mapping[str, str], handler: RequestHandler) -> None:
        micro = await nats.micro.add_service(self.client, ServiceConfig(name=service, version=VERSION))
        self._services.append(micro)
        for name, subject in endpoints.items():

            async def answer(request: MicroRequest) -> None:
                await request.respond(await handler(request.subject, request.data))

            await micro.add_endpoint(EndpointConfig(name=name, subject=subject, handler=_concurrent(answer)))

    async def follow(
        self, stream: Stream, subject: str, since: datetime | None = None, from_sequence: int | None = None
    ) -> AsyncGenerator[Stored, None]:
        start = from_sequence if from_sequence is not None else await self._start(stream, since)
        async with contextlib.aclosing(follow(self, stream, subject, start)) as messages:
            async for message in messages:
                yield message

    async def _start(self, stream: Stream, since: datetime | None) -> int:
        """The sequence to begin at: of the first message that was stored at `since` or later, or of the next one."""
        if since is None:
            return await self.last_sequence(stream) + 1
        config = api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_TIME,
            opt_start_time=cast(Any, since.astimezone(UTC).isoformat().replace("+00:00", "Z")),
            ack_policy=api.AckPolicy.NONE,
            inactive_threshold=PUBLISH_TIMEOUT_SECONDS,
        )
        try:
            info = await self.jetstream.add_consumer(stream.name, config)
            await self.jetstream.delete_consumer(stream.name, info.name)
        except (TimeoutError, NatsError, OSError) as error:
            raise UnavailableError(f"{stream.name}: {_words(error)}") from error
        return int(info.delivered.stream_seq if info.delivered else 0) + 1

    async def last_sequence(self, stream: Stream) -> int:
        try:
            return int((await self.jetstream.stream_info(stream.name)).state.last_seq)
        except (TimeoutError, NatsError, OSError) as error:
            raise UnavailableError(f"{stream.name}: {_words(error)}") from error

    async def last(self, stream: Stream, subject: str) -> Stored | None:
        request = json.dumps({"last_by_subj": subject}).encode()
        wait = timedelta(seconds=PUBLISH_TIMEOUT_SECONDS)
        answer = json.loads(await self.request(f"$JS.API.STREAM.MSG.GET.{stream.name}", request, wait))
        if error := answer.get("error"):
            if error.get("err_code") == NO_MESSAGE_FOUND:
                return None
            raise UnavailableError(f"{stream.name}: {error.get('description')}; `thymos doctor` says how to mend it")
        return stored_message(answer["message"])

    async def missing(self, consumers: Sequence[Consumer]) -> Sequence[str]:
        if not self.connected:
            return [f"NATS does not answer at {shown(self.url)}"]
        found = []
        for consumer in consumers:
            try:
                await self._info(consumer)
            except TransientError as error:
                found.append(str(error))
        return found + await nats_room.full(self.jetstream, {EVENTS, *(each.stream for each in consumers)})

    async def ensure_consumer(self, consumer: Consumer) -> None:
        try:
            await self.jetstream.add_consumer(consumer.stream.name, consumer_config(consumer))
        except (TimeoutError, NatsError, OSError) as error:
            raise TransientError(f"consumer {consumer.durable}: {_words(error)}") from error

    async def delete_consumer(self, consumer: Consumer) -> None:
        try:
            await self.jetstream.delete_consumer(consumer.stream.name, consumer.durable)
        except NotFoundError:
            return
        except (TimeoutError, NatsError, OSError) as error:
            raise TransientError(f"consumer {consumer.durable}: {_words(error)}") from error

    async def depth(self, consumer: Consumer) -> QueueDepth | None:
        try:
            info = await self._info(consumer)
        except ConsumerMissingError:
            return None
        return QueueDepth(info.num_pending or 0, info.num_ack_pending or 0)

    async def purge(self, stream: Stream, subject: str) -> int:
        try:
            request = json.dumps({"filter": subject}).encode()
            answer = await self.client.request(
                f"$JS.API.STREAM.PURGE.{stream.name}", request, timeout=PUBLISH_TIMEOUT_SECONDS
            )
        except (TimeoutError, NatsError, OSError) as error:
            raise TransientError(f"purge of {subject}: {_words(error)}") from error
        said = json.loads(answer.data)
        if "error" in said:
            raise TransientError(f"purge of {subject}: {said['error'].get('description', 'refused')}")
        return int(said.get("purged", 0))

    async def close(self) -> None:
        self._watching.cancel()
        # A server that is away makes each of these fail; there is nothing left to lose by then.
        away = (NatsError, OSError, asyncio.TimeoutError)
        for service in self._services:
            with contextlib.suppress(*away):
                await service.stop()
        if self.client.is_connected:
            # Not drain(): it waits for pull subscriptions whose last status messages nobody will read.
            with contextlib.suppress(*away):
                await self.client.flush(timeout=2)
        with contextlib.suppress(*away):
            await self.client.close()

    async def _watch_reading(self) -> None:
        """nats-py stops reading for good when something in it fails, and stays "connected": connect anew then."""
        while True:
            await asyncio.sleep(READING_LOOK_SECONDS)
            reading = self.client._reading_task
            if reading is not None and reading.done() and self.client.is_connected:
                log.error("bus: the client has stopped reading; it connects anew")
                await self.client._process_op_err(nats.errors.StaleConnectionError())


def _concurrent(answer: Any) -> Any:
    """nats.micro awaits each handler before the next request: give every request its own task instead."""
    running: set[asyncio.Task[None]] = set()

    async def start(request: Any) -> None:
        task = asyncio.create_task(answer(request))
        running.add(task)
        task.add_done_callback(running.discard)

    return start


class NatsSubscription:
    """One pull request at a time to one durable."""

    def __init__(self, client: Client, consumer: Consumer, core: CoreSubscription, inbox: str) -> None:
        self._client = client
        self._consumer = consumer
        self._core = core
        self._inbox = inbox
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream.name}.{consumer.durable}"
        self._waiting: deque[Msg] = deque()
        self._asked = 0
        self._asked_until = 0.0

    async def fetch(self, count_max: int, timeout: timedelta) -> Sequence["NatsDelivery"]:
        deadline = time.monotonic() + timeout.total_seconds()
        self._drain()
        while not self._waiting:
            left = deadline - time.monotonic()
            if left <= 0:
                return []
            await self._ask(count_max, left)
            await self._receive(min(left, self._asked_until - time.monotonic()))
            self._drain()
        taken = [self._waiting.popleft() for _ in range(min(count_max, len(self._waiting)))]
        return [NatsDelivery(message) for message in taken]

    async def _ask(self, count: int, seconds: float) -> None:
        """Send a pull request unless one is still open. A request that the server lost simply ends with its time."""
        now = time.monotonic()
        if self._asked > 0 and now < self._asked_until:
            return
        if not self._client.is_connected:
            await asyncio.sleep(min(seconds, 0.2))
            if not self._client.is_connected:
                raise TransientError("the bus is away")
        request = {"batch": count, "max_bytes": PULL_BYTES_MAX, "expires": int(max(seconds, 0.1) * 1e9)}
        try:
            await self._client.publish(self._next, json.dumps(request).encode(), self._inbox)
        except (NatsError, OSError) as error:
            raise TransientError(f"the bus is away: {_words(error)}") from error
        self._asked, self._asked_until = count, now + seconds + PULL_GRACE_SECONDS

    async def _receive(self, seconds: float) -> None:
        """Wait for one message. Not with `next_msg`: its `wait_for` may lose a cancellation (Python 3.11)."""
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                message = await self._core._pending_queue.get()
        except TimeoutError:
            return
        self._unqueue(message)

    def _drain(self) -> None:
        """Take what has already arrived, without waiting."""
        while not self._core._pending_queue.empty():
            self._unqueue(self._core._pending_queue.get_nowait())

    def _unqueue(self, message: Msg) -> None:
        self._core._pending_queue.task_done()
        self._core._pending_size -= len(message.data)
        self._take(message)

    def _take(self, message: Msg) -> None:
        status = (message.headers or {}).get("Status") if not message.reply.startswith("$JS.ACK") else None
        if status is None:
            self._waiting.append(message)
            self._asked -= 1
            return
        self._asked = 0
        description = (message.headers or {}).get("Description", "")
        if status == "503" or (status == "409" and "Consumer Deleted" in description):
            raise ConsumerMissingError(
                f"consumer {self._consumer.durable} on {self._consumer.stream.name} is gone; run `thymos provision`"
            )
        if status not in ("404", "408") and not (status == "409" and description.startswith(_ENDS_A_PULL)):
            raise TransientError(f"consumer {self._consumer.durable}: {status} {description}")

    async def close(self) -> None:
        """Give back what was taken but not handed out, so that nobody waits for its `ack_wait`."""
        if self._client.is_closed:
            return
        with contextlib.suppress(TransientError):
            self._drain()
            for message in self._waiting:
                await NatsDelivery(message).retry(timedelta(0))
        await self._core.unsubscribe()


class NatsDelivery:
    """See `thymos.bus.Delivery`."""

    def __init__(self, message: Msg) -> None:
        self._message = message

    @property
    def subject(self) -> str:
        return self._message.subject

    @property
    def body(self) -> bytes:
        return self._message.data

    @property
    def headers(self) -> Mapping[str, str]:
        return self._message.headers or {}

    @property
    def attempts(self) -> int:
        return self._message.metadata.num_delivered or 1

    @property
    def sequence(self) -> int:
        return self._message.metadata.sequence.stream

    @property
    def consumer_sequence(self) -> int:
        """Counts the deliveries of the consumer, from 1."""
        return self._message.metadata.sequence.consumer

    @property
    def stored_at(self) -> datetime:
        """When the server stored it."""
        return stored_at(self._message.reply)

    async def ack(self, confirm: bool = True) -> None:
        if not confirm:
            await self._settle(self._message.ack())
            return
        try:
            await self._message.ack_sync(timeout=ACK_TIMEOUT_SECONDS)
        except (TimeoutError, NatsError, OSError) as error:
            raise TransientError(f"not acknowledged: {_words(error)}") from error

    async def retry(self, delay: timedelta) -> None:
        await self._settle(self._message.nak(delay=delay.total_seconds()))

    async def terminate(self) -> None:
        # nats-py's own term() cannot say why; whoever hears the server's advisory must know that it was us.
        self._message._check_reply()
        await self._settle(self._message._client.publish(self._message.reply, f"+TERM {TERMINATED}".encode()))
        self._message._ackd = True

    async def in_progress(self) -> None:
        await self._settle(self._message.in_progress())

    async def _settle(self, sending: Any) -> None:
        try:
            await sending
        except (NatsError, OSError) as error:
            raise TransientError(f"not settled: {_words(error)}") from error


def consumer_config(consumer: Consumer) -> api.ConsumerConfig:
    """A durable's settings on the server. `max_deliver` stays unlimited: settlement counts the attempts itself and
    writes the dead letter, so that a message is never given up in silence by the server."""
    return api.ConsumerConfig(
        durable_name=consumer.durable,
        filter_subject=consumer.filters[0] if len(consumer.filters) == 1 else None,
        filter_subjects=list(consumer.filters) if len(consumer.filters) > 1 else None,
        ack_policy=api.AckPolicy.EXPLICIT,
        ack_wait=consumer.ack_wait.total_seconds(),
        max_deliver=-1,
        max_ack_pending=consumer.max_ack_pending,
        deliver_policy=api.DeliverPolicy.ALL,
    )


def shown(url: str) -> str:
    """A server's address without the name and password that may be in it."""
    return re.sub(r"(?<=//)[^/@,]*@", "", url)


def _words_of_silence(error: BaseException) -> str:
    """A server whose disk is full answers nothing at all, and takes nothing for that stream until it is restarted."""
    if not isinstance(error, TimeoutError):
        return _words(error)
    return "no answer; if the disk of NATS is or was full, make room there and restart NATS"


def _words(error: BaseException) -> str:
    if isinstance(error, APIError) and error.description:
        return error.description
    return str(error) or type(error).__name__
