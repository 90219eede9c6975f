"""How a user's history and seen set change: two Lua scripts, each atomic and on the keys of one user alone.

The score of a seen item is a time in milliseconds since 1970, or, where nobody knows the time, a place in an order
(0, 1, ...), which is below `FIRST_TIME` and so older than every time. The history is held in the order of those scores,
newest first; equal ones in the order of arrival. So it does not matter in which order events arrive: late ones and
repeated ones end where they belong.

Every script looks before it writes: on a key of another type it fails and has changed nothing.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from service.contract.redis_keys import HISTORY_CAP

FIRST_TIME = 100_000_000_000
"""The smallest score that is a time in milliseconds (in 1973); smaller ones are places in an order."""
DEFAULT_SEEN_CAP = 5_000
MOST_TTL_SECONDS = 10 * 365 * 86_400

Duplicates = Literal["keep_first", "move_to_end", "keep_all"]
"""What a history does with an item that it already has; training keeps the first (`offline.dataset`)."""


@dataclass(frozen=True, kw_only=True)
class HistoryLimits:
    """How much of a user is kept, and for how long after the last change.

    Attributes:
        seen_cap: most seen items, the newest.
        history_ttl_seconds: the history ends this much after its last change; 0 for never.
        seen_ttl_seconds: the same for the seen set.
    """

    seen_cap: int = DEFAULT_SEEN_CAP
    history_ttl_seconds: int = 0
    seen_ttl_seconds: int = 0


APPLY_EVENT = """
local function expire(key, seconds)
  if tonumber(seconds) > 0 then redis.call('EXPIRE', key, seconds) else redis.call('PERSIST', key) end
end
local history, seen, event = KEYS[1], KEYS[2], KEYS[3]
local item, time, duplicates = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if event and redis.call('EXISTS', event) == 1 then return 0 end
local known = redis.call('ZSCORE', seen, item)
local listed = redis.call('LPOS', history, item)
local score = time
if known then
  known = tonumber(known)
  if duplicates == 'keep_first' then score = math.min(time, known) else score = math.max(time, known) end
end
local place = score
local stays = false
if duplicates == 'keep_first' then stays = listed and not (known and time < known)
elseif duplicates == 'move_to_end' then stays = listed and known and time < known
else place = time end
local function is_newer(member)
  local other = redis.call('ZSCORE', seen, member)
  return other and tonumber(other) > place
end
redis.call('ZADD', seen, score, item)
if not stays then
  if listed and duplicates ~= 'keep_all' then redis.call('LREM', history, 1, item) end
  local newest = redis.call('LINDEX', history, 0)
  if not newest or not is_newer(newest) then
    redis.call('LPUSH', history, item)
  else
    local older = nil
    for _, member in ipairs(redis.call('LRANGE', history, 1, -1)) do
      if not is_newer(member) then older = member break end
    end
    if older then redis.call('LINSERT', history, 'BEFORE', older, item) else redis.call('RPUSH', history, item) end
  end
  redis.call('LTRIM', history, 0, ARGV[4] - 1)
end
redis.call('ZREMRANGEBYRANK', seen, 0, -1 - ARGV[5])
expire(history, ARGV[6])
expire(seen, ARGV[7])
if event then redis.call('SET', event, 1, 'EX', ARGV[8]) end
return 1
"""
"""Add one event to its user; 1 when it changed anything, 0 when its event id is known.

KEYS: history, seen, [event]. ARGV: `event_arguments`. The event's own key is written last and in the same step: where
it stands, the history has the event.
"""

REPLACE = """
local history, seen = KEYS[1], KEYS[2]
local newest = redis.call('ZRANGE', seen, -1, -1, 'WITHSCORES')[2]
if newest and ARGV[1] ~= 'always' and tonumber(newest) > tonumber(ARGV[1]) then return 0 end
if redis.call('LLEN', history) > 0 then
  if not newest and ARGV[1] ~= 'always' then return 0 end
  redis.call('DEL', history)
end
if newest then redis.call('DEL', seen) end
local items = {}
for at = 6, math.min(#ARGV, 4 + 2 * ARGV[2]), 2 do items[#items + 1] = ARGV[at] end
for start = 1, #items, 1000 do
  redis.call('RPUSH', history, unpack(items, start, math.min(start + 999, #items)))
end
for start = 5, #ARGV, 2000 do
  redis.call('ZADD', seen, 'GT', unpack(ARGV, start, math.min(start + 1999, #ARGV)))
end
if tonumber(ARGV[3]) > 0 then redis.call('EXPIRE', history, ARGV[3]) end
if tonumber(ARGV[4]) > 0 then redis.call('EXPIRE', seen, ARGV[4]) end
return 1
"""
"""Put other items in the place of a user's; 1 when that happened, 0 when Redis holds something newer.

KEYS: history, seen. ARGV: the newest score that may be replaced or 'always', history cap, the two TTLs, then score and
item id in turn, newest first. A history without a seen set has no time that could be compared: it counts as newer.
"""


def event_arguments(
    item_id: str, time_ms: int, *, duplicates: Duplicates, limits: HistoryLimits, event_id_ttl_seconds: int
) -> list[str | int]:
    """ARGV of `APPLY_EVENT`."""
    ttls = (limits.history_ttl_seconds, limits.seen_ttl_seconds, event_id_ttl_seconds)
    return [item_id, time_ms, duplicates, HISTORY_CAP, limits.seen_cap, *ttls]


def replace_arguments(
    newest_first: Sequence[str], times_ms: Iterable[int], *, limits: HistoryLimits
) -> list[str | int]:
    """ARGV of `REPLACE`, whatever Redis holds.

    Args:
        newest_first: item ids, none twice unless repeats are kept; those after `limits.seen_cap` are left out.
        times_ms: one for each.
        limits: caps and TTLs.
    """
    arguments: list[str | int] = ["always", HISTORY_CAP, limits.history_ttl_seconds, limits.seen_ttl_seconds]
    for item_id, time_ms in list(zip(newest_first, times_ms, strict=False))[: limits.seen_cap]:
        arguments += (time_ms, item_id)
    return arguments
