"""What has to happen in Redis at one stroke.

A text is a stream of pieces. The id of a piece is where it ends, so Redis itself keeps a text from growing
twice over the same tokens; the ending has the last piece's id and 1 behind the dash. Only the owner writes:
one that was paused beyond its lease, and whose request another has taken up, is told so.
"""

_LAST = """
local known, ended = 0, false
local last = redis.call('XREVRANGE', KEYS[2], '+', '-', 'COUNT', 1)[1]
if last then
  local tokens, mark = string.match(last[1], '^(%d+)-(%d+)$')
  known, ended = tonumber(tokens), mark == '1'
end
"""

# KEYS: record, text, owner, others. ARGV: gateway, expiry in ms, record or nothing, where the piece begins,
# where it ends, the piece, the ending or nothing, '1' to give the request up.
# Gives how many tokens the text holds, and: 'written', 'wanted' (the record is not there), 'other' (another
# gateway's; an abort reaches both), 'over' (it has ended). A piece behind a gap is not written.
WRITE = (
    """
if redis.call('EXISTS', KEYS[1]) == 0 then
  if ARGV[3] == '' then return {0, 'wanted'} end
  redis.call('SET', KEYS[1], ARGV[3])
  redis.call('DEL', KEYS[2], KEYS[3])
end
"""
    + _LAST
    + """
if ended then return {known, 'over'} end
local owner = redis.call('GET', KEYS[3])
if owner and owner ~= ARGV[1] then
  redis.call('SADD', KEYS[4], ARGV[1])
  redis.call('PEXPIRE', KEYS[4], ARGV[2])
  return {known, 'other'}
end
local first, stop = tonumber(ARGV[4]), tonumber(ARGV[5])
if first <= known and stop > known then
  redis.call('XADD', KEYS[2], ARGV[5] .. '-0', 'piece', ARGV[6])
  known = stop
end
local all = first <= known
if all and ARGV[7] ~= '' then redis.call('XADD', KEYS[2], known .. '-1', 'ending', ARGV[7]) end
if all and (ARGV[7] ~= '' or ARGV[8] == '1') then
  redis.call('DEL', KEYS[3])
else
  redis.call('SET', KEYS[3], ARGV[1])
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[2]) end
return {known, 'written'}
"""
)

# KEYS: record, text, owner, others. ARGV: gateway, expiry in ms, the owner that is gone or nothing. Of many
# that saw the same owner gone one is given 1, the rest 0.
CLAIM = (
    """
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
"""
    + _LAST
    + """
if ended or (redis.call('GET', KEYS[3]) or '') ~= ARGV[3] then return 0 end
redis.call('SET', KEYS[3], ARGV[1], 'PX', ARGV[2])
return 1
"""
)

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# A bucket of tokens, as `gateway/buckets.py` says it. KEYS: bucket. ARGV: tokens to take, tokens a minute,
# '1' to take them whatever there is. Gives the ms until there will be as many, 0 where they were taken.
DRAW = (
    _NOW
    + """
local tokens, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local known = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = rate
if known[1] then
  level = math.min(rate, tonumber(known[1]) + math.max(0, now - tonumber(known[2])) * rate / 60000)
end
local missing = math.min(tokens, rate) - level
if ARGV[3] ~= '1' and missing > 0 then return math.ceil(missing * 60000 / rate) end
level = level - tokens
local said = {'level', string.format('%.3f', level), 'at', string.format('%.0f', now)}
redis.call('HSET', KEYS[1], unpack(said))
redis.call('PEXPIRE', KEYS[1], math.max(60000, math.ceil((rate - level) * 60000 / rate)))
return 0
"""
)

# How many streams each gateway reads for a tenant, and until when that counts. KEYS: streams. ARGV: gateway,
# its streams, the most of all together or nothing, ms that it counts. Gives 0 where it would be too many.
ENTER = (
    _NOW
    + """
local all = tonumber(ARGV[2])
local known = redis.call('HGETALL', KEYS[1])
for i = 1, #known, 2 do
  local streams, ends = string.match(known[i + 1], '^(%d+) (%d+)$')
  if tonumber(ends) < now then
    redis.call('HDEL', KEYS[1], known[i])
  elseif known[i] ~= ARGV[1] then
    all = all + tonumber(streams)
  end
end
if ARGV[3] ~= '' and all > tonumber(ARGV[3]) then return 0 end
if ARGV[2] == '0' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2] .. ' ' .. string.format('%.0f', now + ARGV[4]))
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
end
return 1
"""
)
