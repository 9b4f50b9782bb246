-- The origins that something is stored for.
--
-- Atomic because it is one look; ended origins are left out by the same clock that ended them.
--
-- KEYS[1]  the list, as in admit.lua
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found, origins = redis.pcall('HGETALL', KEYS[1]), {}
if found.err then return origins end
for i = 1, #found, 2 do
  local ends = tonumber(found[i + 1])
  if ends and ends > now then origins[#origins + 1] = found[i] end
end
return origins
