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

# KEYS: record, text, owner. ARGV: gateway, expiry in ms, record or nothing, where the piece begins, where it
# ends, the piece, the ending or nothing, '1' to give the request up.
# Gives how many tokens the text holds, and: 'written', 'wanted' (the record is not there), 'other' (another
# gateway's), 'over' (it has ended). A piece behind a gap is not written.
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
if owner and owner ~= ARGV[1] then return {known, 'other'} end
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

# KEYS: record, text, owner. ARGV: gateway, expiry in ms, the owner that is gone or nothing. Of several that
# saw the same owner gone one is given 1, the others 0.
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
