-- Enter an origin in the list of those that something is stored for. 0: the list is full.
--
-- Atomic because two processes must not both take the last place, nor one shorten what the other
-- has just prolonged.
--
-- KEYS[1]  the list, a hash of origins and until when each is in use, in ms
-- ARGV[1]  an origin    ARGV[2]  for how many ms    ARGV[3]  how many there may be
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.pcall('HGETALL', KEYS[1])
if found.err then
  redis.call('DEL', KEYS[1])  -- of another type: not ours
  found = {}
end
local until_, count = now + ARGV[2], 0
local is_known = false
for i = 1, #found, 2 do
  local ends = tonumber(found[i + 1])
  if not ends or ends <= now then
    redis.call('HDEL', KEYS[1], found[i])
  else
    count = count + 1
    if found[i] == ARGV[1] then
      is_known, until_ = true, math.max(until_, ends)
    end
  end
end
if not is_known and count >= tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', until_))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
