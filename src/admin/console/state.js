// What runs, as the page knows it: the status every two seconds, figures and events as they come, kept for five minutes.

import { events, get, has, send } from './api.js';

/** Between two readings of the status, in milliseconds. */
const EVERY = 2000;
/** How much time the plots show, in milliseconds. */
const KEPT = 300_000;
/** How soon a stream of events that ended is opened again, in milliseconds. */
const AGAIN = 8000;
const EVENTS_KEPT = 200;

export const state = {
  /** The last `/v1/status`. */
  status: null,
  /** What was measured, oldest first: `at` in milliseconds, and what `sampleOf` has. */
  samples: [],
  /** What happened while the page was open, newest first: `{ kind, … }` as `/v1/events` has it. */
  events: [],
  /** Why the last reading failed. */
  problem: null,
  /** Nothing is changed from this page. */
  readOnly: false,
  /** How the page has proven itself: `session`, `token` or `unix-socket`. */
  by: null,
  /** The token allows no change. */
  forced: false,
};

const listeners = new Set();
const followers = new Set();
let before = null;

/** Calls `listener` after each reading; the result ends that. */
export function watch(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Calls `follower(kind, event)` for each event but figures; the result ends that. */
export function follow(follower) {
  followers.add(follower);
  return () => followers.delete(follower);
}

const tell = () => { for (const listener of [...listeners]) listener(); };

function keep(sample) {
  state.samples = [...state.samples.filter(it => it.at > sample.at - KEPT), sample];
}

/** What happened in a second between two statuses, for a server that sends no figures. */
function compared(status, at) {
  const totals = status.totals;
  const seconds = before ? Math.max(.5, (at - before.at) / 1000) : 0;
  // A process that was started anew counts from 0.
  const rate = name => totals[name] >= before.totals[name] ? (totals[name] - before.totals[name]) / seconds : 0;
  const sample = before && {
    at, requests: rate('requests'), refused: rate('responses_4xx'), failed: rate('responses_5xx'), connections: totals.connections_open,
    backends: rate('backend_connections'), handshakes: rate('client_handshakes') + rate('backend_handshakes'),
  };
  before = { at, totals };
  return sample;
}

/** The figures of one second, as plots read them. */
function sampleOf(figures) {
  const { latency, handshakes_per_second: handshakes, responses_per_second: responses } = figures;
  return {
    at: Date.parse(figures.at), requests: figures.requests_per_second, refused: responses['4xx'], failed: responses['5xx'],
    connections: figures.connections_open, backends: figures.backend_connections_per_second,
    handshakes: handshakes.clients + handshakes.backends, p50: latency.p50_ms, p90: latency.p90_ms, p99: latency.p99_ms,
    upstreams: Object.fromEntries(figures.upstreams.map(it => [it.name, { requests: it.requests_per_second, failed: it.errors_per_second, latency: it.latency_ms }])),
  };
}

/** Reads what runs now. */
export async function refresh() {
  try {
    const status = await get('/v1/status');
    const sample = compared(status, Date.now());
    state.status = status;
    if (sample && !stream) keep(sample);
    state.problem = null;
  } catch (problem) {
    state.problem = problem;
    if (problem.status === 401) throw problem;
  } finally {
    tell();
  }
}

let timer;
let stream = null;
let listened = 0;

/** Reads again and again, while the page can be seen. */
export function begin() {
  clearInterval(timer);
  timer = setInterval(() => {
    if (document.hidden) return;
    refresh().catch(() => end());
    if (!stream && has('GET /v1/events') && Date.now() > listened + AGAIN) listen();
  }, EVERY);
  if (has('GET /v1/events')) listen();
}

export function end() {
  clearInterval(timer);
  stream?.abort();
  stream = null;
  before = null;
  Object.assign(state, { samples: [], events: [], status: null });
}

/** Reads events until the stream ends; `begin` opens the next one. */
async function listen() {
  const mine = stream = new AbortController();
  listened = Date.now();
  try {
    const response = await send('GET', '/v1/events', undefined, { accept: 'text/event-stream', signal: mine.signal });
    await events(response, (kind, event) => {
      if (kind === 'figures') keep(sampleOf(event));
      else {
        state.events = [{ kind, ...event }, ...state.events].slice(0, EVENTS_KEPT);
        for (const follower of [...followers]) follower(kind, event);
      }
      tell();
    });
  } catch { /* It is opened again. */ }
  if (stream === mine) stream = null;
}

/** The upstreams by name, each with its overlays: `{ name, base, overlays: [upstream with an environment] }`. */
export function upstreams(status = state.status) {
  const bases = status.upstreams.filter(upstream => !upstream.environment);
  return bases.map(base => ({
    name: base.name,
    base,
    overlays: status.upstreams.filter(upstream => upstream.environment && nameOf(upstream) === base.name),
  }));
}

const nameOf = upstream => upstream.name.slice(0, -(upstream.environment.length + 1));

/** Every environment that is named anywhere. */
export function environments(status = state.status) {
  const named = [...status.upstreams, ...status.listeners].map(it => it.environment).filter(Boolean);
  return [...new Set(named)].sort();
}
