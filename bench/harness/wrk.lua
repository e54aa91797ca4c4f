-- Prints what wrk counted as one line that a program can read. "upload BYTES" after -- posts a body.

function init(arguments)
   if arguments[1] == "upload" then
      wrk.method = "POST"
      wrk.body = string.rep("upload\n.", tonumber(arguments[2]) / 8)
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
