-- A pause of ARGV[1] microseconds from now; a longer one that is already in force stays. ARGV[2]: max_pause. It is
-- stored as its beginning and its end, so that each reader can cap it at its own max_pause.
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
local value = redis.call('MGET', KEYS[1])[1]
local from, to = string.match(value or '', '^(%d+):(%d+)$')
from, to = tonumber(from), tonumber(to)
local length = math.min(tonumber(ARGV[1]), tonumber(ARGV[2]))
local held = 0
if from and from <= clock then
    held = math.min(to, from + tonumber(ARGV[2])) - clock
end
if length > held then
    local written = string.format('%.0f:%.0f', clock, clock + length)
    redis.call('SET', KEYS[1], written, 'PX', string.format('%.0f', math.max(1, math.ceil(length / 1000))))
    held = length
end
return { math.ceil(held) }
