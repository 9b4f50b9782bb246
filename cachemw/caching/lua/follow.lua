-- The notes of the journal after a position: the id of its last one, then each as its parts.
--
-- Atomic because the last id must be of the moment at which the notes were read. A journal that does
-- not exist is begun, so that its loss can be told from its never having been written.
--
-- KEYS[1]  the journal    ARGV[1]  the position, or nothing    ARGV[2]  how many notes at most
--                         ARGV[3]  for how many ms it is kept from now on
--                         ARGV[4]  the number of a first note, as in note.lua
--                         ARGV[5], ARGV[6]  its region and its word
local newest = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
local last = newest[1] and newest[1][1]
if not last then
  redis.call('DEL', KEYS[1])  -- it may be of another type: not ours
  local time = redis.call('TIME')
  last = string.format('%.0f-%s', time[1] * 1000 + math.floor(time[2] / 1000), ARGV[4])
  redis.call('XADD', KEYS[1], last, 'before', '-', 'region', ARGV[5], 'what', ARGV[6])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local reply = {last}
if ARGV[1] == '' then return reply end
for _, found in ipairs(redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])) do
  local note = {found[1]}
  for i = 2, #found[2], 2 do note[#note + 1] = found[2][i] end
  reply[#reply + 1] = note
end
return reply
