-- This replica is alive; how many are? ARGV: its id, for how many microseconds a beat counts, 1 if it leaves.
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local key, window = KEYS[1], tonumber(ARGV[2])
if redis.call('TYPE', key).ok ~= 'zset' then
    redis.call('DEL', key)
end
redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', clock - window))
redis.call('ZREMRANGEBYSCORE', key, string.format('(%.0f', clock), '+inf')
if ARGV[3] == '1' then
    redis.call('ZREM', key, ARGV[1])
else
    redis.call('ZADD', key, string.format('%.0f', clock), ARGV[1])
    redis.call('PEXPIRE', key, string.format('%.0f', window / 1000))
end
return { redis.call('ZCARD', key) }
