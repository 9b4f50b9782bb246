-- Keep fields of one key, each with its own end.
--
-- A script because the fields, their ends and the end of the whole key must change together: a
-- field without an end, or one that outlives its key, must never be seen.
--
-- KEYS[1]  a hash: field -> "until value", until in milliseconds since the epoch
-- ARGV[1]  for how many milliseconds they are kept
-- ARGV[2], ARGV[3] ...  a field and its value, and so on
local k, lives = KEYS[1], tonumber(ARGV[1])
local optional = redis.pcall
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local left = redis.call('PTTL', k)
local pairs_, names = {}, {}
for i = 2, #ARGV, 2 do
  names[#names + 1] = ARGV[i]
  pairs_[#pairs_ + 1] = ARGV[i]
  pairs_[#pairs_ + 1] = string.format('%d ', now + lives) .. ARGV[i + 1]
end
local length = optional('HLEN', k)
if type(length) == 'table' then redis.call('DEL', k) end
redis.call('HSET', k, unpack(pairs_))
redis.call('PEXPIRE', k, math.max(left, lives))
-- Where the server lets fields end by themselves, it does so. Elsewhere those that have ended go
-- now.
local reply = optional('HPEXPIRE', k, lives, 'FIELDS', #names, unpack(names))
if reply.err then
  local all = redis.call('HGETALL', k)
  for i = 1, #all, 2 do  -- one by one: `unpack` gives up at some thousands
    local till = tonumber(string.match(all[i + 1], '^(%d+) ') or '0')
    if till <= now then redis.call('HDEL', k, all[i]) end
  end
end
return 1
