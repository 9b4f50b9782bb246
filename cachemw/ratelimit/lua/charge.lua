-- One request is charged to all its limits, or to none.
--
-- Atomic because between reading the counters and raising them nobody else may take the room that
-- was seen, and because a counter must never exist without an end: it is created by one SET with PX.
-- Time is only ever a key's own time to live, on the server that holds the key.
--
-- KEYS      of each rule: its block, then its counters
-- ARGV      one per key, numbers of eight bytes each:
--             for a block    counters that follow, 1 if they slide, cost, ms to block after a breach
--             for a counter  quota, span in ms
-- returns   1 or 0 for all of them, then three per key: count, previous, ms left; eight bytes each
--
-- Numbers are packed, and the functions few, because this is run for each request: to read a number
-- out of text, to make a function or a small table takes a server a third of what a command does.
--
-- What cannot be a counter (another type, no number) counts as none, and the next charge writes over
-- it; a time to live that is missing or longer than it can be is put right: nobody is locked out by a
-- broken key.

local KEYS, ARGV, numbers = KEYS, ARGV, struct.unpack
local now = {} -- of each key: count, previous, ms left
local admitted, breached = 1, nil

local function is_count(text)
  return type(text) == 'string' and #text <= 15 and (string.find(text, '^[1-9]%d*$') or text == '0')
end

-- The ms that a key has left, at most `most`.
local function time_left(key, most)
  local left = redis.call('PTTL', key)
  if left >= 0 and left <= most then return left end
  redis.call('PEXPIRE', key, most)
  return most
end

local key = 1
while KEYS[key] do
  local counters, slides, cost = numbers('>i8i8i8', ARGV[key])
  local count, previous, left = 0, 0, redis.call('PTTL', KEYS[key])
  if left >= 0 then
    count, admitted = 1, 0
  else
    if left == -1 then redis.call('DEL', KEYS[key]) end
    left = 0
  end
  now[3 * key - 2], now[3 * key - 1], now[3 * key] = count, previous, left

  for i = key + 1, key + counters do
    local value, quota, span = redis.pcall('GET', KEYS[i]), numbers('>i8i8', ARGV[i])
    count, previous, left = 0, 0, span
    if slides == 0 then
      if is_count(value) then count, left = tonumber(value), time_left(KEYS[i], span) end
    elseif type(value) == 'string' then
      local this, last = string.match(value, '^(%d+) (%d+)$')
      if this and is_count(this) and #last <= 15 then
        left = time_left(KEYS[i], 2 * span) - span
        if left > 0 then
          count, previous = tonumber(this), tonumber(last)
        else
          previous, left = tonumber(this), left + span
        end
      end
    end
    if cost > 0 and previous * left + (count + cost) * span > quota * span then
      admitted, breached = 0, breached or {}
      breached[key] = true
    end
    now[3 * i - 2], now[3 * i - 1], now[3 * i] = count, previous, left
  end
  key = key + counters + 1
end

local reply = struct.pack('>i8', admitted)
key = 1
while KEYS[key] do
  local counters, slides, cost, block = numbers('>i8i8i8i8', ARGV[key])
  local count, previous, left = now[3 * key - 2], 0, now[3 * key]
  if breached and breached[key] and count == 0 and block > 0 then
    redis.call('SET', KEYS[key], '1', 'PX', block)
    count, left = 1, block
  end
  reply = reply .. struct.pack('>i8i8i8', count, previous, left)

  for i = key + 1, key + counters do
    count, previous, left = now[3 * i - 2], now[3 * i - 1], now[3 * i]
    if admitted == 1 and cost > 0 then
      if slides == 1 then
        local _, span = numbers('>i8i8', ARGV[i])
        local value = string.format('%.0f %.0f', count + cost, previous)
        redis.call('SET', KEYS[i], value, 'PX', math.max(1, left) + span)
      elseif count == 0 then
        redis.call('SET', KEYS[i], cost, 'PX', math.max(1, left))
      else
        redis.call('INCRBY', KEYS[i], cost)
      end
      count = count + cost
    end
    reply = reply .. struct.pack('>i8i8i8', count, previous, left)
  end
  key = key + counters + 1
end
return reply
