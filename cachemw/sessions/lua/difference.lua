-- How large the session would be with what `apply` is about to do, and nothing if that is allowed.
-- Here, because what other requests saved meanwhile counts too. ARGV from `at`: as in `apply`;
-- `most` bytes for all keys and values, where each value is `seal` bytes longer than it was.
local function outgrown(at, most, seal)
  local count = tonumber(ARGV[at])
  if count == 0 then return nil end
  local sizes = {}
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if field ~= '@' then
      sizes[field] = #field + redis.call('HSTRLEN', KEYS[1], field) - seal
    end
  end
  for i = at + 1, at + count * 2, 2 do sizes[ARGV[i]] = #ARGV[i] + #ARGV[i + 1] - seal end
  for i = at + 1 + count * 2, #ARGV do sizes[ARGV[i]] = nil end
  local total = 0
  for _, size in pairs(sizes) do total = total + size end
  return total > most and total or nil
end

-- ARGV from `at`: how many fields to set, two arguments for each; then fields to forget.
local function apply(at)
  local count = tonumber(ARGV[at])
  for i = at + 1, at + count * 2, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
  for i = at + 1 + count * 2, #ARGV do redis.call('HDEL', KEYS[1], ARGV[i]) end
end

-- Write a difference: guards from `at`, then what `apply` takes. Nothing, or the reply that says why
-- it was not written.
local function difference(at, most, seal)
  local lost, rest = conflict(at)
  if lost then return {'conflict', lost} end
  local large = outgrown(rest, tonumber(most), tonumber(seal))
  if large then return {'large', large} end
  apply(rest)
end
