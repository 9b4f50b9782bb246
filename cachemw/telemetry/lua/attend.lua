-- Who is at work: enter a worker, drop those that have not come back, and name the rest.
--
-- Atomic because two workers must not each drop, or forget, what the other has just entered.
--
-- KEYS[1]  a hash of workers and until when each counts as being there, in ms
-- ARGV[1]  a worker, or nothing to look only    ARGV[2]  for how many ms it is entered; 0 leaves
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.pcall('HGETALL', KEYS[1])
if found.err then
  redis.call('DEL', KEYS[1])  -- of another type: not ours
  found = {}
end
local there = {}
for i = 1, #found, 2 do
  local ends = tonumber(found[i + 1])
  if not ends or ends <= now or found[i] == ARGV[1] then
    redis.call('HDEL', KEYS[1], found[i])
  else
    there[#there + 1] = found[i]
  end
end
local lives = tonumber(ARGV[2])
if ARGV[1] ~= '' and lives > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + lives))
  there[#there + 1] = ARGV[1]
  if redis.call('PTTL', KEYS[1]) < lives then redis.call('PEXPIRE', KEYS[1], lives) end
end
return there
