-- What HAProxy's own language cannot say. Written in Lua 5.3, in which it is also right on 5.4.

local folder = (debug.getinfo(1, "S").source:match("^@(.*)/[^/]*$"))
local routes = Map.new(folder .. "/routes.map", Map._str)
local held = {}


local function milliseconds()
  local now = core.now()
  return now.sec * 1000 + now.usec // 1000
end

-- Keep a request until the first engine of its model is up. What may wait, and how long, is the third and fourth part
-- of the model's route; both are read again while it waits, since the operator may call it off.
core.register_action("hold", { "http-req" }, function(txn)
  local backend, model = txn:get_var("txn.backend"), txn:get_var("txn.model")
  local began = milliseconds()
  local counted = false
  while txn.c:nbsrv(backend) == 0 do
    local most_ms, most = (routes:lookup(model) or ""):match("^[^:]*:[^:]*:(%d+):(%d+)")
    if not most_ms or milliseconds() - began >= tonumber(most_ms) then break end
    if not counted then
      if (held[model] or 0) >= tonumber(most) then
        txn:set_var("txn.held", "full")
        return
      end
      held[model] = (held[model] or 0) + 1
      counted = true
    end
    core.msleep(50)
  end
  if counted then
    held[model] = held[model] > 1 and held[model] - 1 or nil
    txn:set_var("txn.held_ms", milliseconds() - began)
  end
end, 0)

core.register_cli({ "show", "held" }, "show held: requests that wait for an engine, by model", function(applet)
  for model, count in pairs(held) do
    applet:send(count .. " " .. model .. "\n")
  end
end)

-- Find "model" at the top level of a body that HAProxy's JSON parser gives up on: escapes beyond Latin-1, deep nesting.
local function model_in(body)
  local depth, at = 0, 1
  while true do
    at = body:find('["{}%[%]]', at)
    if not at then return nil end
    local mark = body:sub(at, at)
    if mark == "{" or mark == "[" then
      depth = depth + 1
    elseif mark == "}" or mark == "]" then
      depth = depth - 1
    else
      local stop = at + 1
      while true do
        stop = body:find('[\\"]', stop)
        if not stop then return nil end
        if body:sub(stop, stop) == '"' then break end
        stop = stop + 2
      end
      if depth == 1 and body:sub(at + 1, stop - 1) == "model" then
        local value = body:match('^%s*:%s*"([^"\\]+)"', stop + 1)
        if value then return value end
      end
      at = stop
    end
    at = at + 1
  end
end

core.register_action("find_model", { "http-req" }, function(txn)
  local body = txn.f:req_body()
  local model = body and model_in(body)
  if model then txn:set_var("txn.model", model) end
end, 0)

-- The models that this caller may use, from the file that the agent keeps for its tenant.
core.register_service("models", "http", function(applet)
  local found = io.open(folder .. "/models/" .. (applet:get_var("txn.tenant") or "") .. ".json", "r")
  local body = found and found:read("a") or '{"object":"list","data":[]}'
  if found then found:close() end
  applet:set_status(200)
  applet:add_header("content-type", "application/json")
  applet:add_header("content-length", tostring(#body))
  applet:start_response()
  applet:send(body)
end)
