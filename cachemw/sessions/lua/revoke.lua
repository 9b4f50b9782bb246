-- Ends one session of a subject, or all but one, by taking them off the index: KEYS[1].
-- One step, however many there are: no session of the subject is good after it but those that a
-- login begins later.
-- ARGV: subject, handle or *, handle to keep or nothing
local found = redis.pcall('HKEYS', KEYS[1])
if found.err then return redis.call('DEL', KEYS[1]) end
local gone = 0
for _, field in ipairs(found) do
  if string.sub(field, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then
    local handle = string.sub(field, #ARGV[1] + 2)
    if (ARGV[2] == '*' or ARGV[2] == handle) and handle ~= ARGV[3] then
      gone = gone + redis.call('HDEL', KEYS[1], field)
    end
  end
end
return gone
