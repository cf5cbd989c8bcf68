"""How ids and cursors, opaque to clients, are read and written."""

import base64
import binascii
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import orjson

from persistence.tables import Conversation, Message, Task
from resolvers.errors import BadUserInput
from runs.follow import Cursor

Value = TypeVar("Value")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def parse_id(argument: str, value: str) -> UUID:
    """The id that an argument gives. Raises `BadUserInput`."""
    try:
        parsed = UUID(value)
    except ValueError:
        raise BadUserInput(argument, "is not an id") from None
    # UUID() reads capitals, braces and urn: too; one object has one id.
    if str(parsed) != value:
        raise BadUserInput(argument, "is not an id")
    return parsed


def parse_optional_id(argument: str, value: str | None) -> UUID | None:
    """As `parse_id`, for an argument that may be missing."""
    return None if value is None else parse_id(argument, value)


def _encode(fields: Sequence[Any]) -> str:
    # As `base64.urlsafe_b64encode`, which is two calls more, for each token.
    return binascii.b2a_base64(orjson.dumps(fields), newline=False).translate(_URL_SAFE).rstrip(b"=").decode()


def _decode(argument: str, cursor: str, read: Callable[..., Value], *, of: str = "list") -> Value:
    """What `read` makes of the cursor's fields; any failure of it means that the cursor is none of ours."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        fields = orjson.loads(base64.b64decode(padded, b"-_", validate=True))
        if _encode(fields) != cursor:
            raise ValueError
        return read(*fields)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, binascii.Error):
        raise BadUserInput(argument, f"is not a cursor of this {of}") from None


def _microseconds(time: datetime) -> int:
    return (time - _EPOCH) // timedelta(microseconds=1)


def _expect(actual: object, expected: object) -> None:
    if actual != expected:
        raise ValueError


def _whole(value: object, limit: int) -> int:
    """A number from 0 up to, but not including, the limit: neither a fraction nor a truth value."""
    if type(value) is not int or not 0 <= value < limit:
        raise ValueError
    return value


def _timed(kind: str, argument: str, cursor: str) -> tuple[datetime, UUID]:
    def read(given: str, time: int, id: str) -> tuple[datetime, UUID]:
        key = UUID(id)
        _expect((given, type(time), key.hex), (kind, int, id))
        return _EPOCH + timedelta(microseconds=time), key

    return _decode(argument, cursor, read)


def conversation_cursor(row: Conversation) -> str:
    return _encode(["c", _microseconds(row.updated_at), row.id.hex])


def read_conversation_cursor(argument: str, cursor: str) -> tuple[datetime, UUID]:
    """The key of a list of conversations. Raises `BadUserInput`."""
    return _timed("c", argument, cursor)


def task_cursor(row: Task) -> str:
    return _encode(["t", _microseconds(row.created_at), row.id.hex])


def read_task_cursor(argument: str, cursor: str) -> tuple[datetime, UUID]:
    """The key of a list of tasks. Raises `BadUserInput`."""
    return _timed("t", argument, cursor)


def message_cursor(row: Message) -> str:
    """A place on the branches of one conversation: the depth, which never changes."""
    return _encode(["m", _tag(row.conversation_id), row.depth])


def message_cursor_reader(conversation_id: UUID) -> Callable[[str, str], tuple[int]]:
    """Reads the keys of a conversation's pages. Raises `BadUserInput`, also for another conversation's."""

    def read(kind: str, tag: int, depth: int) -> tuple[int]:
        _expect((kind, _whole(tag, 2**32)), ("m", _tag(conversation_id)))
        return (_whole(depth, 2**31),)

    return lambda argument, cursor: _decode(argument, cursor, read)


class StreamCursors:
    """Writes and reads the cursors of one message's stream."""

    def __init__(self, message_id: UUID) -> None:
        self.message_id = message_id
        self._tag = _tag(message_id)

    def write(self, cursor: Cursor) -> str:
        return _encode(["s", self._tag, cursor.attempt, cursor.position])

    def read(self, cursor: str) -> Cursor:
        """Raises `BadUserInput`, also for another message's."""

        def read(kind: str, tag: int, attempt: int, position: int) -> Cursor:
            _expect((kind, _whole(tag, 2**32)), ("s", self._tag))
            return Cursor(_whole(attempt, 2**31), _whole(position, 2**31))

        return _decode("after", cursor, read, of="message")


def revision_cursor(conversation_id: UUID, revision: int) -> str:
    """Where the conversation's stream goes on after a revision."""
    return _encode(["r", _tag(conversation_id), revision])


def read_revision_cursor(conversation_id: UUID, cursor: str) -> int:
    """The revision that a cursor of a conversation's stream means. Raises `BadUserInput`."""

    def read(kind: str, tag: int, revision: int) -> int:
        _expect((kind, _whole(tag, 2**32)), ("r", _tag(conversation_id)))
        return _whole(revision, 2**63)

    return _decode("after", cursor, read, of="conversation")


def _tag(id: UUID) -> int:
    """Enough of an id to tell another object's cursor."""
    return zlib.crc32(id.bytes)
