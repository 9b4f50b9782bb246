-- Which of the commands that our scripts use does this user lack?
--
-- A script because an ACL is judged for each command within it, and because the scratch key must
-- never be seen by anybody. Answers the names that were refused.
--
-- KEYS[1]  a scratch key
local refused = {}
local function try(...)
  local reply = redis.pcall(...)
  if type(reply) == 'table' and reply.err and string.find(reply.err, 'NOPERM') or
     type(reply) == 'table' and reply.err and string.find(reply.err, 'ACL failure') then
    refused[#refused + 1] = (...)
  end
end
local k = KEYS[1]
try('TIME')
try('SET', k, '1', 'PX', 1000)
try('GET', k)
try('EXISTS', k)
try('INCRBY', k, 1)
try('PTTL', k)
try('PEXPIRE', k, 1000)
try('UNLINK', k)
try('DEL', k)
try('HSET', k, 'f', 'v')
try('PEXPIRE', k, 1000)
try('HGET', k, 'f')
try('HGETALL', k)
try('HLEN', k)
try('HDEL', k, 'f')
try('DEL', k)
return refused
