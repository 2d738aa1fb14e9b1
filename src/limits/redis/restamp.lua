-- A call that windows have reserved under a stamp is written now, or is not made. KEYS: the windows. ARGV: the stamp,
-- 1 if it is written, then for each window for how many microseconds a stamp counts. Answers: the new stamp.
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
for i = 1, #KEYS do
    -- From the end: the stamp is one of the latest.
    if type(redis.pcall('LREM', KEYS[i], -1, ARGV[1])) ~= 'number' then
        redis.call('DEL', KEYS[i])
    end
    if ARGV[2] == '1' then
        redis.call('RPUSH', KEYS[i], string.format('%.0f', clock))
        redis.call('PEXPIRE', KEYS[i], string.format('%.0f', math.ceil(tonumber(ARGV[2 + i]) / 1000) + 1))
    end
end
return { clock }
