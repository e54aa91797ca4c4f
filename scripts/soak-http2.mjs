// An HTTP/2 client of scripts/soak: requests without pause, on several connections, through every GOAWAY.
//
//     node scripts/soak-http2.mjs URL CONNECTIONS STREAMS
//
// It ends with its standard input, and prints what it counted. A request that the server has not processed (RFC 9113
// §8.7) is sent again and counted as resent; anything else that has no answer with status 200 has failed.

import http2 from 'node:http2';

const [url, connections, streams] = [process.argv[2], ...process.argv.slice(3).map(Number)];
const counted = { requests: 0, resent: 0, connections: 0, failed: 0, reasons: {} };
let over = false;

function failed(reason) {
  counted.failed += 1;
  counted.reasons[reason] = (counted.reasons[reason] ?? 0) + 1;
}

function connect() {
  counted.connections += 1;
  const session = http2.connect(url);
  // What it means for a request is an event of that request's stream.
  session.on('error', () => {});
  session.setMaxListeners(0);
  return session;
}

/** One request: 'done', 'resend' or the reason why it failed. */
function ask(session) {
  return new Promise(resolve => {
    let stream;
    try { stream = session.request({ ':path': '/' }); } catch (error) { return resolve(['ERR_HTTP2_GOAWAY_SESSION', 'ERR_HTTP2_INVALID_SESSION'].includes(error.code) ? 'resend' : error.code); }
    let status;
    let reason;
    stream.on('response', fields => { status = fields[':status']; });
    stream.on('error', error => { reason = error.message; });
    stream.on('close', () => {
      if (stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM) resolve('resend');
      else resolve(status === 200 && !stream.rstCode && !reason ? 'done' : reason ?? `status ${status}, code ${stream.rstCode}`);
    });
    stream.resume();
    stream.end();
  });
}

async function connection() {
  let session = connect();
  const turn = async () => {
    while (!over) {
      if (session.closed || session.destroyed) session = connect();
      const outcome = await ask(session);
      if (outcome === 'done') counted.requests += 1;
      else if (outcome === 'resend') { counted.resent += 1; await new Promise(setImmediate); } else failed(outcome);
    }
  };
  await Promise.all(Array.from({ length: streams }, turn));
  session.close();
}

process.stdin.on('end', () => { over = true; });
process.stdin.resume();
await Promise.all(Array.from({ length: connections }, connection));
console.log(JSON.stringify(counted));
