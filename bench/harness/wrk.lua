-- Prints what wrk counted as one line that a program can read. After --, "upload BYTES" posts a body; "begins LINE" puts
-- a line ahead of each request, for connections that have one.

function init(arguments)
   if arguments[1] == "upload" then
      wrk.method = "POST"
      wrk.body = string.rep("upload\n.", tonumber(arguments[2]) / 8)
   elseif arguments[1] == "begins" then
      local checked, plain = false, wrk.format()
      local whole = arguments[2] .. "\r\n" .. plain
      request = function()
         -- The first one is not sent: wrk looks whether it is HTTP.
         if checked then return whole end
         checked = true
         return plain
      end
   end
end

function done(summary, latency, requests)
   local errors = summary.errors
   local line = '\nRESULT {"requests":%d,"seconds":%.6f,"bytes":%d,"p50_us":%.1f,"p99_us":%.1f,"p999_us":%.1f,'
      .. '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n'
   io.write(line:format(summary.requests, summary.duration / 1e6, summary.bytes,
      latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
      errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
