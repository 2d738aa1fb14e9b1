-- One request's pauses and limits, all or nothing, on the server's clock.
-- KEYS: the pauses, then the limits. ARGV: how many pauses, max_pause, the longest wait that a limit can have at any
-- replica, then for each limit
-- "bucket", its interval, its burst, its wait, 1 if it refuses; or
-- "window", for how long a stamp counts, its figure, 0, 1 if it refuses.
-- A bucket is the time at which it is full again; a window is a list of the times of its calls. Times are microseconds,
-- an interval a whole number of sixteenths of one: exact in a double.
-- Answers: verdict (0 passes, 1 refused, 2 paused), whose, how long, the tightest limit (-1: none), what remains in
-- it, until it is full, the stamp in windows; then the limits that would have refused.
local time = redis.call('TIME')
local clock = tonumber(time[1]) * 1000000 + tonumber(time[2])
-- Cells count from 2026 on, to have bits left for the sixteenths.
local now = clock - 1767225600000000
local pauses, max_pause, longest_wait = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
-- A value of another type is absent here; what is set below replaces it.
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
    return { 2, paused - 1, math.ceil(left), -1, 0, 0, clock }
end

-- An answer is an integer of 64 bits.
local function whole(micros)
    return math.min(math.ceil(micros), 9000000000000000)
end

-- Returns how many calls of a window still count, and how long another call must wait.
local function look(key, kept, figure)
    local count = redis.pcall('LLEN', key)
    if type(count) ~= 'number' then
        redis.call('DEL', key)
        return 0, 0
    end
    -- No replica that keeps to the limit has written many more.
    if count > 2 * figure then
        redis.call('LTRIM', key, -figure, -1)
        count = figure
    end
    local first
    while count > 0 do
        first = tonumber(redis.call('LINDEX', key, 0))
        if first and first + kept >= clock then
            break
        end
        redis.call('LPOP', key)
        count = count - 1
    end
    local last = count > 0 and tonumber(redis.call('LINDEX', key, -1))
    -- A call that is stamped again moves to the end, so the first one may be ahead of the clock.
    if count > 0 and not (last and last <= clock and first <= clock) then
        -- Another program wrote this, or the clock was set back: all calls count from now.
        redis.call('DEL', key)
        for _ = 1, count do
            redis.call('RPUSH', key, string.format('%.0f', clock))
        end
        redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(kept / 1000) + 1))
    end
    if count < figure then
        return count, 0
    end
    local due = tonumber(redis.call('LINDEX', key, count - figure)) or clock
    return count, math.min(due + kept - clock, kept) + 1
end

local cells = #KEYS - pauses
local refused, longest, delay = 0, 0, 0
local rules, tats, dues, counts, shadow = {}, {}, {}, {}, {}
for i = 1, cells do
    local at = 4 + (i - 1) * 5
    local interval, burst, wait = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    local enforce = ARGV[at + 4] == '1'
    local need
    if ARGV[at] == 'window' then
        counts[i], need = look(KEYS[pauses + i], interval, burst)
    else
        local most = burst * interval
        local tat = tonumber(values[pauses + i] or '')
        if not tat or tat ~= tat or tat < now then
            tat = now
        end
        -- Requests may wait at replicas whose limit has a longer wait than here: their turns are kept. No replica
        -- that keeps to the limit can have written more: another program did, or the clock was set back.
        local owed = most + math.max(wait, longest_wait)
        if tat > now + owed then
            tat = math.max(now, now + math.min(owed, most - interval + max_pause))
        end
        need = tat + interval - most - now
        tats[i] = tat
    end
    rules[i] = { interval, burst, enforce }
    if need <= wait then
        dues[i] = tats[i] and tats[i] + interval or clock
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
        local due, key = dues[i], KEYS[pauses + i]
        if due and counts[i] then
            counts[i] = counts[i] + 1
            redis.call('RPUSH', key, string.format('%.0f', clock))
            redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(rules[i][1] / 1000) + 1))
        elseif due then
            tats[i] = due
            -- The key expires when the bucket is full again, at the latest in ten years.
            local life = math.min(math.ceil((due - now) / 1000), 315360000000)
            redis.call('SET', key, string.format('%.4f', due), 'PX', string.format('%.0f', life))
        end
    end
end

local tightest, remaining, full = -1, 0, 0
for i = 1, cells do
    local interval, burst, enforce = rules[i][1], rules[i][2], rules[i][3]
    if enforce then
        local rest, until_full
        if counts[i] then
            rest, until_full = math.max(0, burst - counts[i]), counts[i] > 0 and interval or 0
        else
            rest, until_full = math.max(0, math.floor((now + burst * interval - tats[i]) / interval)), tats[i] - now
        end
        if tightest < 0 or rest < remaining then
            tightest, remaining, full = i - 1, rest, whole(until_full)
        end
    end
end
local answer
if refused > 0 then
    answer = { 1, refused - 1, whole(longest), tightest, remaining, full, clock }
else
    answer = { 0, 0, whole(delay), tightest, remaining, full, clock }
end
for i = 1, #shadow do
    answer[7 + i] = shadow[i]
end
return answer
