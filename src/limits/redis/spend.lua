-- One call on every budget, or on none. ARGV, for each key: the limit, 1 if it refuses, the least that is known to be
-- spent, calls made that were not counted here, the key's life in milliseconds. KEYS: the budgets, then for each that
-- has calls made a key that exists once they have been counted: a replica that got no reply sends them again. Answers:
-- the first that refused (-1: none), then the counts.
local values = redis.call('MGET', unpack(KEYS))
local refused, counts, stored = -1, {}, {}
local budgets = #ARGV / 5
local batch = budgets
for i = 1, budgets do
    local at = (i - 1) * 5
    local limit, least, made = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
    local have = tonumber(string.match(values[i] or '', '^%d+$'))
    -- No replica writes a number that a double cannot represent exactly.
    if not have or have > 9007199254740991 then
        have = 0
    end
    stored[i] = have
    if made > 0 then
        batch = batch + 1
        if values[batch] then
            made = 0
        else
            redis.call('SET', KEYS[batch], '1', 'PX', ARGV[at + 5])
        end
    end
    counts[i] = math.max(have, least) + made
    if refused < 0 and ARGV[at + 2] == '1' and counts[i] + 1 > limit then
        refused = i - 1
    end
end
local answer = { refused }
for i = 1, budgets do
    if refused < 0 then
        counts[i] = counts[i] + 1
    end
    if counts[i] ~= stored[i] then
        redis.call('SET', KEYS[i], string.format('%.0f', counts[i]), 'PX', ARGV[(i - 1) * 5 + 5])
    end
    answer[i + 1] = counts[i]
end
return answer
