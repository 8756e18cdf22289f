-- The load of all throughput measurements: GET /v1/check or POST /v1/reserve of random names.
-- Arguments: the verb, the pool domain, how many names there are to draw from, a seed, what labels begin with, a key.

local verb, pool, names, prefix, headers

function init(args)
  verb, pool, names = args[1], args[2], tonumber(args[3])
  math.randomseed(tonumber(args[4]))
  prefix, headers = args[5], { ["Authorization"] = "Bearer " .. args[6] }
end

function request()
  local label = string.format("%s%012.0f", prefix, math.random(0, names - 1))
  if verb == "check" then
    return wrk.format("GET", "/v1/check?poolDomain=" .. pool .. "&subdomain=" .. label, headers)
  end
  local body = '{"poolDomain":"' .. pool .. '","subdomain":"' .. label .. '"}'
  return wrk.format("POST", "/v1/reserve", { ["Content-Type"] = "application/json" }, body)
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format('{"answered":%d,"refused":%d,"broken":%d,"seconds":%f,"p50":%f,"p99":%f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
