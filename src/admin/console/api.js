// Calls of the admin API. The token stays in this module's memory: it is in no URL and in no storage.

let token = null;
let calls = new Set();
let leave = () => {};
const tags = new Map();

/** What was refused, and why: RFC 9457. */
export class Problem extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the server answered ${status}`);
    this.status = status;
    this.kind = problem.type;
    this.places = (problem.errors ?? []).map(({ level, line, column, message, help }) =>
      `${level} in line ${line}:${column}: ${message}${help ? `\n  ${help}` : ''}`);
  }
}

/** Called when the server no longer accepts what the page presents. */
export function onLeave(work) { leave = work; }

export function setToken(text) { token = text; }

function headers(more) {
  return token === null ? more : { ...more, Authorization: `Bearer ${token}` };
}

async function problemOf(response) {
  const text = await response.text();
  try { return new Problem(response.status, JSON.parse(text)); } catch { return new Problem(response.status, { detail: text.trim() }); }
}

/** One call, as a response. `match`: the path whose ETag, as it was read last, the change is for. */
export async function send(method, path, body, { match, accept, signal, more = {} } = {}) {
  const fields = { ...more };
  if (body !== undefined) fields['Content-Type'] = 'application/json';
  if (accept) fields.Accept = accept;
  if (match && tags.has(match)) fields['If-Match'] = tags.get(match);
  let response;
  try {
    response = await fetch(path, {
      method, signal, headers: headers(fields), body: body === undefined ? undefined : JSON.stringify(body),
      cache: 'no-store', credentials: 'same-origin', referrerPolicy: 'no-referrer', redirect: 'error',
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Problem(0, { detail: 'the server can’t be reached' });
  }
  if (response.ok) {
    const tag = response.headers.get('ETag');
    const subject = method === 'GET' ? path : match;
    if (subject && tag) tags.set(subject, tag);
    return response;
  }
  const problem = await problemOf(response);
  if (response.status === 401) leave();
  if (response.status === 412 && match) await get(match).catch(() => {});
  if (response.status === 412) problem.message = 'It was changed meanwhile. What is there now has been read: look at it, and try again.';
  throw problem;
}

/** One call, as its JSON. */
export async function call(method, path, body, options) {
  const response = await send(method, path, body, options);
  return response.status === 204 ? null : response.json();
}

export const get = (path, options) => call('GET', path, undefined, options);

/** Each event of a stream (HTML, server-sent events), by its name. */
export async function events(response, each) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value.replaceAll('\r\n', '\n')).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      let name = 'message';
      const data = [];
      for (const line of block.split('\n')) {
        if (line.startsWith('event:')) name = line.slice(6).trim();
        if (line.startsWith('data:')) data.push(line.slice(5).trimStart());
      }
      if (data.length) each(name, JSON.parse(data.join('\n')));
    }
  }
}

/** Learns which calls this server has. */
export async function learn() {
  const { paths } = await get('/v1/openapi.json');
  calls = new Set(Object.entries(paths).flatMap(([path, methods]) => Object.keys(methods).map(method => `${method.toUpperCase()} ${path}`)));
}

/** Whether the server has a call: `has('POST /v1/consumers')`. */
export const has = name => calls.has(name);

export const part = encodeURIComponent;
