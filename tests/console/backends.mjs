// HTTPS backends in Node that demand a client's certificate, and clients that count what is lost.

import https from 'node:https';
import http from 'node:http';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { given } from './kit.mjs';

const file = name => readFileSync(join(given.pki, name));

/** Answers with the common name of what the client presented. `trust(pem…)`: what it takes from now on, and nothing else. */
export function backend(address) {
  const [host, port] = address.split(':');
  const base = { key: file('server.key'), cert: file('server.pem') };
  let asks = false;
  const options = () => ({ ...base, requestCert: asks, rejectUnauthorized: asks });
  let server;
  const begin = ca => new Promise((resolve, reject) => {
    server = https.createServer({ ...options(), ...(ca && { ca }) }, (request, response) => {
      const name = request.socket.getPeerCertificate?.()?.subject?.CN ?? 'nobody';
      response.setHeader('Content-Type', 'text/plain');
      response.end(name);
    });
    server.on('error', reject);
    server.listen(Number(port), host, resolve);
  });
  return {
    address,
    start: () => begin(),
    /** From now on only these are taken. The socket stays, as its process was never restarted. */
    async demand(...pems) {
      if (!asks) {
        asks = true;
        await new Promise(resolve => { server.close(resolve); server.closeAllConnections(); });
        return begin(pems);
      }
      server.setSecureContext({ ...base, ca: pems });
    },
    stop: () => new Promise(resolve => { server.close(resolve); server.closeAllConnections(); }),
  };
}

/** One request through the gateway: the status and the body. */
export function ask(address, path, agent, headers = {}) {
  const [host, port] = address.split(':');
  return new Promise((resolve, reject) => {
    const request = http.get({ host, port, path, agent, headers, timeout: 10_000 }, response => {
      let body = '';
      response.on('data', piece => { body += piece; });
      response.on('end', () => resolve({ status: response.statusCode, body }));
      response.on('error', reject);
    });
    request.on('error', reject);
    request.on('timeout', () => request.destroy(new Error('no answer')));
  });
}

/** Requests without a pause until `stop`, which says how many were answered, by what, and what was lost. */
export function load(address, path, clients = 4) {
  const agent = new http.Agent({ keepAlive: true, maxSockets: clients });
  const counted = { answered: 0, lost: [], names: new Set() };
  let on = true;
  const running = Array.from({ length: clients }, async () => {
    while (on) {
      try {
        const { status, body } = await ask(address, path, agent);
        if (status === 200) { counted.answered += 1; counted.names.add(body); } else counted.lost.push(`${status} ${body}`);
      } catch (error) { counted.lost.push(error.message); }
      await new Promise(resolve => setTimeout(resolve, 2));
    }
  });
  return async () => {
    on = false;
    await Promise.all(running);
    agent.destroy();
    return counted;
  };
}
