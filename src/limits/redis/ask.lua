-- One request's pauses and limits, all or nothing, on the server's clock.
-- KEYS: the pauses, then the cells. ARGV: how many pauses, max_pause, then for each cell its interval, burst, wait
-- and 1 if it refuses. Times are microseconds, an interval a whole number of sixteenths of one: exact in a double.
-- Answers: verdict (0 passes, 1 refused, 2 paused), whose, how long, the tightest cell (-1: none), what remains in
-- it, until it is full; then the cells that would have refused.
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
-- Cells count from 2026 on, to have bits left for the sixteenths.
local now = clock - 1767225600000000
local pauses, max_pause = tonumber(ARGV[1]), tonumber(ARGV[2])
-- What is no string is absent here, and whatever is set below takes its place.
local values = redis.call('MGET', unpack(KEYS))

local paused, left = 0, 0
for i = 1, pauses do
    local from, to = string.match(values[i] or '', '^(%d+):(%d+)$')
    from, to = tonumber(from), tonumber(to)
    if from and from <= clock then
        local rest = math.min(to, from + max_pause) - clock
        if rest > left then
            paused, left = i, rest
        end
    end
end
if paused > 0 then
    return { 2, paused - 1, math.ceil(left), -1, 0, 0 }
end

-- An answer is an integer of 64 bits.
local function whole(micros)
    return math.min(math.ceil(micros), 9000000000000000)
end

local cells = #KEYS - pauses
local refused, longest, delay = 0, 0, 0
local rules, tats, dues, shadow = {}, {}, {}, {}
for i = 1, cells do
    local at = 3 + (i - 1) * 4
    local interval, burst, wait = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    local enforce = ARGV[at + 3] == '1'
    local most = burst * interval
    local tat = tonumber(values[pauses + i] or '')
    if not tat or tat ~= tat or tat < now then
        tat = now
    end
    -- Nobody who keeps to the rule can have written more: another writer, or the clock was set back.
    if tat > now + most + wait then
        tat = math.max(now, now + math.min(most + wait, most - interval + max_pause))
    end
    local need = tat + interval - most - now
    rules[i] = { interval, most, enforce }
    tats[i] = tat
    if need <= wait then
        dues[i] = tat + interval
        if enforce and need > delay then
            delay = need
        end
    elseif not enforce then
        shadow[#shadow + 1] = i - 1
    elseif need > longest then
        refused, longest = i, need
    end
end

if refused == 0 then
    for i = 1, cells do
        local due = dues[i]
        if due then
            tats[i] = due
            -- Gone when the cell is full again; never later than in ten years.
            local life = math.min(math.ceil((due - now) / 1000), 315360000000)
            redis.call('SET', KEYS[pauses + i], string.format('%.4f', due), 'PX', string.format('%.0f', life))
        end
    end
end

local tightest, remaining, full = -1, 0, 0
for i = 1, cells do
    local interval, most, enforce = rules[i][1], rules[i][2], rules[i][3]
    if enforce then
        local rest = math.max(0, math.floor((now + most - tats[i]) / interval))
        if tightest < 0 or rest < remaining then
            tightest, remaining, full = i - 1, rest, whole(tats[i] - now)
        end
    end
end
local answer
if refused > 0 then
    answer = { 1, refused - 1, whole(longest), tightest, remaining, full }
else
    answer = { 0, 0, whole(delay), tightest, remaining, full }
end
for i = 1, #shadow do
    answer[6 + i] = shadow[i]
end
return answer
