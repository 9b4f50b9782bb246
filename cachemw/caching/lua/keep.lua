-- Store an entry, if the lease of whoever made it still stands. 1: kept, 0: not, a name: kept, and
-- the variant of that name, which would have ended first, is no longer counted: its entry is to go.
--
-- Atomic because a purge of the URL, which forgets the leases, must not come between the look and
-- the write. A variant goes up together with the signpost that leads to it, and is counted.
--
-- KEYS[1]  the record          ARGV[1]  the lease   ARGV[2]  the token   ARGV[3]  for how many ms
-- KEYS[2]  the leases          ARGV[4]  the entry, or the signpost with a new generation
-- and of a variant
-- KEYS[3]  its entry           ARGV[5]  its name    ARGV[6]  its entry
-- KEYS[4]  the census          ARGV[7]  how many variants there may be
--
-- A sealed signpost or variant: seal 1-8, version 9, kind 10, flags 11, length 12-15, generation
-- 16-23, the rest of its header 24 and on, and behind the header of a signpost the instant until
-- which its variants are stale.
local held = redis.pcall('HGET', KEYS[2], ARGV[1])
if type(held) ~= 'string' or string.match(held, '^(%S+) %d+$') ~= ARGV[2] then return 0 end
redis.call('HDEL', KEYS[2], ARGV[1])
if #KEYS == 2 then
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[3])
  return 1
end

local new, variant, entry, most = ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local generation, softened = string.sub(new, 16, 23), ''
local old = redis.pcall('GET', KEYS[1])
if type(old) == 'string' and string.sub(old, 9, 15) == string.sub(new, 9, 15)
   and string.sub(old, 24, #new) == string.sub(new, 24) then
  generation, softened = string.sub(old, 16, 23), string.sub(old, #new + 1)
else
  redis.call('DEL', KEYS[4])
end

local dropped
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if type(redis.pcall('HLEN', KEYS[4])) == 'table' then
  redis.call('DEL', KEYS[4])  -- of another type: not ours
end
if redis.call('HEXISTS', KEYS[4], variant) == 0 and redis.call('HLEN', KEYS[4]) >= most then
  local census = redis.call('HGETALL', KEYS[4])
  for i = 1, #census, 2 do
    local ends = tonumber(census[i + 1])
    if not ends or ends <= now then redis.call('HDEL', KEYS[4], census[i]) end
  end
  if redis.call('HLEN', KEYS[4]) >= most then
    local first
    census = redis.call('HGETALL', KEYS[4])
    for i = 1, #census, 2 do
      local name, ends = census[i], tonumber(census[i + 1])
      if not first or ends < first or (ends == first and name < dropped) then
        first, dropped = ends, name
      end
    end
    redis.call('HDEL', KEYS[4], dropped)
  end
end
redis.call('HSET', KEYS[4], variant, string.format('%.0f', now + ARGV[3]))
if redis.call('PTTL', KEYS[4]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[4], ARGV[3])
end

local lives = math.max(redis.call('PTTL', KEYS[1]), tonumber(ARGV[3]))
redis.call('SET', KEYS[1], string.sub(new, 1, 15) .. generation .. string.sub(new, 24) .. softened,
           'PX', string.format('%.0f', lives))
redis.call('SET', KEYS[3], string.sub(entry, 1, 15) .. generation .. string.sub(entry, 24),
           'PX', ARGV[3])
return dropped or 1
