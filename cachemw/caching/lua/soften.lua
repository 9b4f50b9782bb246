-- Mark what is stored for a URL as stale, and end every fill of it that is under way.
--
-- Atomic because a fill that began before must not store its answer as fresh afterwards. Of a
-- resource that varies, the signpost remembers until when variants are stale.
--
-- KEYS[1]  the record     KEYS[2]  the leases     ARGV[1]  now, in microseconds
redis.call('DEL', KEYS[2])
local record = redis.pcall('GET', KEYS[1])
if type(record) ~= 'string' or #record < 15 then return 0 end
local kind = string.sub(record, 10, 10)
if kind == 'E' then
  local flags = string.byte(record, 11)
  if flags % 2 == 0 then redis.call('SETRANGE', KEYS[1], 10, string.char(flags + 1)) end
elseif kind == 'V' then
  local stop = 15 + string.byte(record, 12) * 16777216 + string.byte(record, 13) * 65536
               + string.byte(record, 14) * 256 + string.byte(record, 15)
  redis.call('SET', KEYS[1], string.sub(record, 1, stop) .. ARGV[1], 'KEEPTTL')
end
return 1
