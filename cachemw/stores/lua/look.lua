-- What is under a key: its kind, how long it lives, how large it is, how it begins.
--
-- A script so that all of it is of one moment, in one trip, and so that a large value is not
-- fetched for its first bytes. What a user may not ask is left out, not refused.
--
-- KEYS[1]  the key
-- ARGV[1]  how many of its first bytes are wanted
-- Answers {} when there is none, else {kind, PTTL, length, memory, beginning}; 0: not known.
local function perhaps(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err then return nil end
  return reply
end
local k, most = KEYS[1], tonumber(ARGV[1])
local lives = redis.call('PTTL', k)
if lives == -2 then return {} end
local begins = perhaps('GETRANGE', k, 0, math.max(0, most - 1))
local kind = perhaps('TYPE', k)
kind = kind and kind.ok or (begins and 'string' or 'other')
local length = 0
if kind == 'string' then
  length = perhaps('STRLEN', k) or #begins
elseif kind == 'hash' then
  length = perhaps('HLEN', k) or 0
elseif kind == 'stream' then
  length = perhaps('XLEN', k) or 0
end
if most < 1 then begins = '' end
return {kind, lives, length, perhaps('MEMORY', 'USAGE', k) or 0, begins or ''}
