-- Put a one-time token in the place of an older one.
--
-- Atomic because a hash without an expiry must not stay behind.
--
-- KEYS[1]  the token of a subject    ARGV[1]  locator    ARGV[2]  digest of the secret
--                                    ARGV[3]  what is handed out    ARGV[4]  attempts
--                                    ARGV[5]  for how many ms
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'i', ARGV[1], 'h', ARGV[2], 'd', ARGV[3], 'n', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[5])
return 1
