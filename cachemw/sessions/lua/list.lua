-- The entries of one subject in the index KEYS[1], and the server's time.
-- One step: whether an entry is still good is judged by the moment at which it was read.
-- ARGV: subject
local clock = redis.call('TIME')
local reply = {clock[1] * 1000 + math.floor(clock[2] / 1000)}
local all = redis.pcall('HGETALL', KEYS[1])
if all.err then return reply end
for i = 1, #all, 2 do
  if string.sub(all[i], 1, #ARGV[1] + 1) == ARGV[1] .. ':' then
    reply[#reply + 1] = string.sub(all[i], #ARGV[1] + 2)
    reply[#reply + 1] = all[i + 1]
  end
end
return reply
