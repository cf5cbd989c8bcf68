"""What nodes keep in Valkey of a reply, and the hints that they publish.

Two keys side by side in a cluster: the log of an attempt, and which attempt is the newest. No script touches those of
two replies.
"""

from collections.abc import Iterable
from uuid import UUID

from runs.live import Signal

#: Where hints are published: a letter, and the ids that it is about, of 16 bytes each.
CHANNEL = "loquent:live"
#: Logs that grew; rows that changed; replies that somebody reads on the node that publishes it.
GREW, CHANGED, FOLLOWED = b"g", b"c", b"f"
SIGNALS: dict[bytes, Signal] = {b"w": "wake", b"s": "stop", b"l": "lose"}
SIGNAL_LETTERS = {signal: letter for letter, signal in SIGNALS.items()}

# An attempt never hides a newer one: its node may have slept. And none is told of whose log Valkey has lost a part:
# the answer is the log's length, which the writer knows.
SET_NEWEST = """
local known = redis.call('HGET', KEYS[1], 'attempt')
if known and tonumber(known) > tonumber(ARGV[1]) then return tonumber(ARGV[5]) end
local length = redis.call('STRLEN', KEYS[1] .. ':' .. ARGV[1])
if length ~= tonumber(ARGV[5]) then return length end
redis.call('HSET', KEYS[1], 'attempt', ARGV[1], 'restarts', ARGV[2], 'ended', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('EXPIRE', KEYS[1] .. ':' .. ARGV[1], ARGV[4])
return length
"""
# To write at a place, not at the end: a write that comes late, or twice, changes nothing. Where there is no key Valkey
# has lost it, also of a log without a byte so far.
WRITE_LOG = """
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('STRLEN', KEYS[1]) < tonumber(ARGV[1]) then return -1 end
return redis.call('SETRANGE', KEYS[1], ARGV[1], ARGV[2])
"""
DROP_LOG = """
redis.call('DEL', KEYS[1] .. ':' .. ARGV[1])
if redis.call('HGET', KEYS[1], 'attempt') == ARGV[1] then redis.call('DEL', KEYS[1]) end
"""
# Nothing where Valkey has lost which attempt is the newest: then it has lost a part of the log too.
READ_NEWEST = """
local newest = redis.call('HMGET', KEYS[1], 'attempt', 'restarts', 'ended')
if not newest[1] then return nil end
local offset = 0
if newest[1] == ARGV[1] then offset = ARGV[2] end
return {newest[1], newest[2], newest[3], redis.call('GETRANGE', KEYS[1] .. ':' .. newest[1], offset, -1)}
"""


def newest_key(message_id: UUID) -> str:
    """Where it stands which attempt of a reply is the newest."""
    return f"loquent:{{{message_id}}}"


def log_key(message_id: UUID, attempt: int) -> str:
    """Where the log of an attempt stands; the scripts put it together by the same rule."""
    return f"loquent:{{{message_id}}}:{attempt}"


def write_hint(letter: bytes, ids: Iterable[UUID]) -> bytes:
    """What to publish: a letter, and the ids that it is about."""
    return letter + b"".join(id.bytes for id in ids)


def read_hint(hint: bytes) -> tuple[bytes, list[UUID]]:
    """The letter of a hint, and its ids."""
    return hint[:1], [UUID(bytes=hint[start : start + 16]) for start in range(1, len(hint), 16)]
