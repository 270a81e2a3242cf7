-- Requests for wrk: `wrk … -s load.lua URL -- BODIES FIRST APART KEY`. What traffic.py and
-- generator.py say in Python; started by load.py. FIRST is the number of the first visitor,
-- APART how far the threads begin from one another, KEY an API key or nothing. A body may be `GET PATH`. Ends with one line of JSON.

local parts = 0
local heads, tails, sent = {}, {}, 0

function setup(thread)
  thread:set("part", parts)
  parts = parts + 1
end

function init(arguments)
  local key = arguments[4] or ""
  local authorization = key ~= "" and "Authorization: Bearer " .. key .. "\r\n" or ""
  for body in io.lines(arguments[1]) do
    local browser = body:sub(1, 1) == "{" and body:match('"user_agent":"([^"]*)"')
    heads[#heads + 1] = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
      .. "User-Agent: " .. (browser or "reftide-bench") .. "\r\n"
      .. "Content-Type: application/json\r\n"
      .. authorization
      .. "Content-Length: " .. #body .. "\r\nX-Forwarded-For: "
    tails[#tails + 1] = "\r\n\r\n" .. body
    if body:sub(1, 4) == "GET " then
      heads[#heads] = body .. " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: reftide-bench\r\nX-Forwarded-For: "
      tails[#tails] = "\r\n\r\n"
    end
  end
  sent = tonumber(arguments[2]) + part * tonumber(arguments[3])
end

function request()
  sent = sent + 1
  local address = string.format("198.%d.%d.%d",
    18 + math.floor(sent / 65536) % 2, math.floor(sent / 256) % 256, sent % 256)
  local place = sent % #heads + 1
  return heads[place] .. address .. tails[place]
end

function done(summary)
  local errors, failures = summary.errors, {}
  for _, kind in ipairs({"connect", "read", "write", "status", "timeout"}) do
    if errors[kind] > 0 then
      failures[#failures + 1] = string.format('"%s":%d', kind, errors[kind])
    end
  end
  io.write(string.format('{"requests":%d,"microseconds":%d,"failures":{%s}}\n',
    summary.requests, summary.duration, table.concat(failures, ",")))
end
