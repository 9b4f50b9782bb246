-- One request is charged to all its limits, or to none.
--
-- Atomic because between reading the counters and raising them nobody else may take the room that
-- was seen, and because a counter must never exist without an end: it is created by one SET with PX.
-- Time is only ever a key's own time to live, on the server that holds the key.
--
-- KEYS      of each rule: its block, then its counters
-- ARGV      four per key: for a block    'block', counters that follow, ms to block after a breach
--                         for a counter  'fixed' or 'sliding', quota, span in ms, cost
-- returns   1 or 0 for all of them, then three per key: count, previous, ms left
--
-- What cannot be a counter (another type, no number) is deleted; a time to live that is missing
-- or longer than it can be is put right: nobody is locked out by a broken key.

local function numbers(key, shape)
  local value = redis.pcall('GET', key)
  if type(value) == 'string' and #value <= 40 and not string.find(value, '^0%d') then
    local a, b = string.match(value, shape)
    return tonumber(a), tonumber(b)
  end
end

local function fixed(key, span)
  local left = redis.call('PTTL', key)
  if left == -2 then return 0, 0, span end
  local count = numbers(key, '^(%d+)$')
  if not count or count >= 1e15 then
    redis.call('DEL', key)
    return 0, 0, span
  end
  if left == -1 or left > span then
    redis.call('PEXPIRE', key, span)
    left = span
  end
  return count, 0, left
end

local function sliding(key, span)
  local left = redis.call('PTTL', key)
  if left == -2 then return 0, 0, span end
  local count, previous = numbers(key, '^(%d+) (%d+)$')
  if not previous or count >= 1e15 or previous >= 1e15 then
    redis.call('DEL', key)
    return 0, 0, span
  end
  if left == -1 or left > 2 * span then
    redis.call('PEXPIRE', key, 2 * span)
    left = 2 * span
  end
  if left > span then return count, previous, left - span end
  return 0, count, left
end

local function blocked(key)
  local left = redis.call('PTTL', key)
  if left == -1 then redis.call('DEL', key) end
  return left >= 0 and 1 or 0, 0, math.max(left, 0)
end

local admitted, reply, breached, block = 1, { 1 }, {}, 0
for i, key in ipairs(KEYS) do
  local kind, quota = ARGV[4 * i - 3], tonumber(ARGV[4 * i - 2])
  local span, cost = tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local count, previous, left
  if kind == 'block' then
    block = i
    count, previous, left = blocked(key)
    if count == 1 then admitted = 0 end
  else
    count, previous, left = (kind == 'fixed' and fixed or sliding)(key, span)
    if cost > 0 and previous * left + (count + cost) * span > quota * span then
      admitted = 0
      breached[block] = true
    end
  end
  reply[3 * i - 1], reply[3 * i], reply[3 * i + 1] = count, previous, left
end
reply[1] = admitted

for i, key in ipairs(KEYS) do
  local kind, span, cost = ARGV[4 * i - 3], tonumber(ARGV[4 * i - 1]), tonumber(ARGV[4 * i])
  local count, previous, left = reply[3 * i - 1], reply[3 * i], reply[3 * i + 1]
  if kind == 'block' then
    if breached[i] and count == 0 and span > 0 then
      redis.call('SET', key, '1', 'PX', span)
      reply[3 * i - 1], reply[3 * i + 1] = 1, span
    end
  elseif admitted == 1 and cost > 0 then
    count = count + cost
    if kind == 'sliding' then
      local value = string.format('%.0f %.0f', count, previous)
      redis.call('SET', key, value, 'PX', math.max(1, left) + span)
    elseif count == cost then
      redis.call('SET', key, string.format('%.0f', count), 'PX', math.max(1, left))
    else
      redis.call('INCRBY', key, ARGV[4 * i])
    end
    reply[3 * i - 1] = count
  end
end
return reply
