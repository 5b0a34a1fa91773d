-- Photographs, one after another, as wrk's requests. PHOTOS: a file with a path a line; TARGET: where
-- they go; FORM: whether as a form; PAUSE_MS: how long a connection rests in the mean.
local requests, sent = {}, 0

function init()
  local boundary = "a-boundary-that-no-photograph-has"
  local head = "--" .. boundary .. '\r\nContent-Disposition: form-data; name="file"; filename="1.jpg"\r\n\r\n'
  for path in io.lines(os.getenv("PHOTOS")) do
    local file = assert(io.open(path, "rb"))
    local body, headers = file:read("*a"), {}
    file:close()
    if os.getenv("FORM") then
      body = head .. body .. "\r\n--" .. boundary .. "--\r\n"
      headers["Content-Type"] = "multipart/form-data; boundary=" .. boundary
    end
    requests[#requests + 1] = wrk.format("POST", os.getenv("TARGET"), headers, body)
  end
end

function request()
  sent = sent % #requests + 1
  return requests[sent]
end

local pause = tonumber(os.getenv("PAUSE_MS"))
if pause then
  -- Of random length, as those of users who know nothing of each other; after 5 s servers hang up.
  function delay()
    return math.min(4000, -pause * math.log(1 - math.random()))
  end
end

function done(summary, latency)
  local errors = summary.errors
  print(string.format(
    'JSON {"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "refused": %d, "lost": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
