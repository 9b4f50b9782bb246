-- Mark what is stored for a URL as stale, and end every fill of it that is under way.
--
-- Atomic because a fill that began before must not store its answer as fresh afterwards. Of a
-- resource that varies, the signpost gets a new generation and remembers the one that is stale.
--
-- KEYS[1]  the record     KEYS[2]  the leases     ARGV[1]  a new generation
redis.call('DEL', KEYS[2])
local record = redis.pcall('GET', KEYS[1])
if type(record) ~= 'string' then return 0 end
local kind = string.sub(record, 10, 10)
if kind == 'E' then
  local flags = string.byte(record, 11)
  if flags % 2 == 0 then redis.call('SETRANGE', KEYS[1], 10, string.char(flags + 1)) end
elseif kind == 'V' then
  local stop = 25 + string.byte(record, 22) * 16777216 + string.byte(record, 23) * 65536
               + string.byte(record, 24) * 256 + string.byte(record, 25)
  redis.call('SET', KEYS[1], string.sub(record, 1, 11) .. ARGV[1] .. '\0\0'
             .. string.sub(record, 22, stop) .. string.sub(record, 12, 19), 'KEEPTTL')
end
return 1
