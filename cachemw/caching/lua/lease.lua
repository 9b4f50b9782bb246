-- Take the lease for filling one variant of a resource, unless somebody has it, or there is something
-- to be looked at. 1: it is yours.
--
-- Atomic because two must not both find it free. All leases of a resource are one hash, so that a
-- purge of its URL ends every fill under way, known or not, by forgetting one key.
--
-- KEYS[1]   the leases    ARGV[1]  the variant   ARGV[2]  a token   ARGV[3]  for how many ms
-- KEYS[2..] records of which there must be none
if KEYS[2] and redis.call('EXISTS', unpack(KEYS, 2)) > 0 then return 0 end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local held = redis.pcall('HGET', KEYS[1], ARGV[1])
if type(held) == 'table' then
  redis.call('DEL', KEYS[1])  -- of another type: not ours
elseif held then
  local ends = string.match(held, ' (%d+)$')
  if ends and tonumber(ends) > now then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now + ARGV[3]))
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
end
return 1
