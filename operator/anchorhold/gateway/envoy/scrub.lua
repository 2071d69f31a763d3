-- Takes a credential out of what an upstream says, so that one that repeats what it was sent does not
-- hand it to the agent: each of its characters becomes '*', so that no length changes. A beginning of
-- it at the end of a piece is taken out too, because the next piece may have the rest.
local LEAST = 6

local function masked(text, first, last)
  return text:sub(1, first - 1) .. string.rep("*", last - first + 1) .. text:sub(last + 1)
end

-- How much of the secret the text ends with.
local function ending(text, secret)
  for length = math.min(#secret - 1, #text), 1, -1 do
    if text:sub(-length) == secret:sub(1, length) then return length end
  end
  return 0
end

-- The piece without the secret, of which `carried` characters ended the piece before.
local function scrubbed(piece, secret, carried)
  local text = secret:sub(1, carried) .. piece
  local carry = ending(text, secret)
  local first, last = text:find(secret, 1, true)
  while first do
    text = masked(text, first, last)
    first, last = text:find(secret, last + 1, true)
  end
  if carry >= LEAST then text = masked(text, #text - carry + 1, #text) end
  return text:sub(carried + 1), carry
end

function envoy_on_response(handle)
  local said = handle:streamInfo():dynamicMetadata():get("envoy.filters.http.ext_authz")
  local secret = said and said["secret"]
  if not secret then return end
  local spoilt = {}
  for name, value in pairs(handle:headers()) do
    if value:find(secret, 1, true) then spoilt[#spoilt + 1] = name end
  end
  for _, name in ipairs(spoilt) do handle:headers():replace(name, "*") end
  local carried = 0
  for piece in handle:bodyChunks() do
    local clean
    clean, carried = scrubbed(piece:getBytes(0, piece:length()), secret, carried)
    piece:setBytes(clean)
  end
end
