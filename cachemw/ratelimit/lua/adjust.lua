-- Counters are corrected after the fact: a refund, a penalty, a block.
--
-- Atomic because a refund must find the very window it was charged to: in the next one it would be
-- a gift. A window is told by its time to live, which only falls, and is a whole span higher in each
-- window after it; half a span of slack forgives any delay on the way.
--
-- KEYS      counters, or blocks
-- ARGV      four per key: 'fixed', 'sliding' or 'block'; what to add (may be negative); span in ms;
--                         the ms that the charged window has left by now, below 0 when it is over,
--                         or 'any': whichever window is the current one
-- returns   how many keys were changed

local function numbers(key, shape)
  local value = redis.pcall('GET', key)
  if type(value) == 'string' and #value <= 40 and not string.find(value, '^0%d') then
    local a, b = string.match(value, shape)
    return tonumber(a), tonumber(b)
  end
end

-- How many windows ago the charge was made, by what the current one has left.
local function windows_ago(due, left, span)
  if due == 'any' then return 0 end
  return math.max(0, math.floor((2 * (left - tonumber(due)) + span) / (2 * span)))
end

local MOST = 999999999999999 -- more would be no counter
local function changed_by(count, change) return math.min(MOST, math.max(0, count + change)) end

local changed = 0
for i, key in ipairs(KEYS) do
  local kind, change = ARGV[4 * i - 3], tonumber(ARGV[4 * i - 2])
  local span, due = tonumber(ARGV[4 * i - 1]), ARGV[4 * i]
  local left = redis.call('PTTL', key)
  if kind == 'block' then
    redis.call('SET', key, '1', 'PX', span)
    changed = changed + 1
  elseif kind == 'fixed' then
    local count = numbers(key, '^(%d+)$')
    if not count or count >= 1e15 then count, left = 0, span end
    if left < 0 or left > span then left = span end
    local value = changed_by(count, change)
    if windows_ago(due, left, span) == 0 and value ~= count then
      redis.call('SET', key, string.format('%.0f', value), 'PX', math.max(1, left))
      changed = changed + 1
    end
  else
    local count, previous = numbers(key, '^(%d+) (%d+)$')
    if not previous or count >= 1e15 or previous >= 1e15 then
      count, previous, left = 0, 0, 2 * span
    end
    if left < 0 or left > 2 * span then left = 2 * span end
    if left <= span then count, previous, left = 0, count, left + span end
    local now, before = count, previous
    local ago = windows_ago(due, left - span, span)
    if ago == 0 then now = changed_by(count, change) end
    if ago == 1 then before = changed_by(previous, change) end
    if now ~= count or before ~= previous then
      redis.call('SET', key, string.format('%.0f %.0f', now, before), 'PX', math.max(1, left))
      changed = changed + 1
    end
  end
end
return changed
