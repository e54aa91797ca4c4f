-- Idempotent methods in turn, or POST alone (`post`). Prints what wrk counted as one line that a program can read.

local methods, turn = { "GET", "GET", "PUT", "GET", "DELETE" }, 0

function init(arguments)
   if arguments[1] == "post" then
      methods = { "POST" }
   end
end

function request()
   turn = turn % #methods + 1
   local method = methods[turn]
   if method == "PUT" or method == "POST" then
      return wrk.format(method, nil, nil, "twelve bytes")
   end
   return wrk.format(method)
end

function done(summary, latency, requests)
   local errors = summary.errors
   local line = '\nRESULT {"requests":%d,"p50":%.1f,"p99":%.1f,"max":%.1f,'
      .. '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n'
   io.write(line:format(summary.requests, latency:percentile(50), latency:percentile(99), latency.max,
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
