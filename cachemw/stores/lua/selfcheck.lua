-- Which of the commands that our scripts use does this user lack?
--
-- A script because an ACL is judged for each command within it, and because the scratch key must
-- never be seen by anybody. Answers the names that were refused.
--
-- KEYS[1]  a scratch key
local k, refused = KEYS[1], {}
local function try(...)
  local reply = redis.pcall(...)
  local err = type(reply) == 'table' and reply.err
  if err and (string.find(err, 'permission') or string.find(err, "can't run")) then
    refused[#refused + 1] = (...)
  end
end
try('TIME')
try('SET', k, '1', 'PX', 1000)
try('GET', k)
try('EXISTS', k)
try('INCRBY', k, 1)
try('GETRANGE', k, 0, 0)
try('SETRANGE', k, 0, '2')
try('PTTL', k)
try('PEXPIRE', k, 1000)
try('RENAME', k, k)
try('DEL', k)
try('HSET', k, 'f', 'v')
try('PEXPIRE', k, 1000)
try('HGET', k, 'f')
try('HMGET', k, 'f')
try('HGETALL', k)
try('HEXISTS', k, 'f')
try('HLEN', k)
try('HSTRLEN', k, 'f')
try('HKEYS', k)
try('HRANDFIELD', k, 1)
try('HDEL', k, 'f')
try('DEL', k)
try('XADD', k, '*', 'f', 'v')
try('XREVRANGE', k, '+', '-')
try('XRANGE', k, '-', '+')
try('DEL', k)
return refused
