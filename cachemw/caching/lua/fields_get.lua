-- The fields of one key that have not ended.
--
-- A script because values and the time by which they are judged are of one moment.
--
-- KEYS[1]  a hash, as fields_set.lua writes it
-- ARGV     the fields; none of them stands for all
-- Answers each field, its milliseconds left, and its value.
local k = KEYS[1]
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local found = {}
if #ARGV == 0 then
  found = redis.pcall('HGETALL', k)
else
  local values = redis.pcall('HMGET', k, unpack(ARGV))
  if not values.err then
    for i = 1, #ARGV do
      found[2 * i - 1], found[2 * i] = ARGV[i], values[i]
    end
  end
end
if found.err then return {} end
local answer = {}
for i = 1, #found, 2 do
  local till, value = string.match(found[i + 1] or '', '^(%d+) (.*)$')
  if till and tonumber(till) > now then
    answer[#answer + 1] = found[i]
    answer[#answer + 1] = tonumber(till) - now
    answer[#answer + 1] = value
  end
end
return answer
