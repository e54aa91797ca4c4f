// Failures: the last requests that failed, and the last warnings and errors of the log, the newest first.

import { get, has, part } from '../api.js';
import { h, mark, region, time } from '../dom.js';
import { milliseconds } from '../format.js';
import { input, select } from '../form.js';
import { table } from '../table.js';

/** How often both are read again, in milliseconds. */
const AGAIN = 4000;

const matches = (filter, ...texts) => texts.filter(Boolean).join(' ').toLowerCase().includes(filter.value.trim().toLowerCase());

function requests() {
  let all = [];
  const fault = select('fault', [['', 'All'], ['backend', 'Of backends'], ['client', 'Of clients']], '', { 'aria-label': 'Whose failures' });
  const filter = input('request-filter', { 'aria-label': 'Only requests with this text', placeholder: 'Filter', type: 'search' });
  const shown = region('div', () => [all.length, all.at(-1)?.at_ms, fault.value, filter.value], () => table({
    id: 'failed', label: 'Failed requests', empty: 'No request has failed.',
    rows: all.filter(it => (!fault.value || it.fault === fault.value) && matches(filter, it.route, it.upstream, it.endpoint, it.type, it.reason, it.request_id, it.listener, String(it.status))).toReversed(),
    columns: [
      { title: 'When', of: row => row.at_ms, cell: row => time(row.at) },
      { title: 'Status', of: row => row.status ?? 0, cell: row => mark(row.fault === 'client' ? 'warn' : 'bad', row.status ? String(row.status) : 'none') },
      { title: 'What', of: row => row.type, cell: row => h('div', h('span.mono', row.type), h('div.soft.small.break', row.reason)) },
      { title: 'Route', of: row => row.route ?? '', cell: row => h('div', h('span.mono', row.route ?? ''), h('div.soft.small', row.listener)) },
      { title: 'Upstream', of: row => row.upstream ?? '', cell: row => row.upstream && h('div', h('a', { href: `#/upstreams/${part(row.upstream.split('@')[0])}` }, row.upstream), h('div.soft.small.break', row.endpoint ?? '')) },
      { title: 'Duration', of: row => row.duration_ms, cell: row => milliseconds(row.duration_ms) },
      { title: 'Request', of: row => row.request_id ?? '', cell: row => h('span.mono.break.small', row.request_id ?? '') },
    ],
  }));
  fault.addEventListener('change', shown.update);
  filter.addEventListener('input', shown.update);
  const read = async () => {
    all = await get('/v1/failures').catch(() => all);
    shown.update();
  };
  return { read, node: h('section.card.flush', h('header', h('h2', 'Failed requests'), fault, filter), shown) };
}

function lines() {
  let all = [];
  const level = select('level', [['', 'Warnings and errors'], ['error', 'Errors']], '', { 'aria-label': 'Which lines' });
  const filter = input('filter', { 'aria-label': 'Only lines with this text', placeholder: 'Filter', type: 'search' });
  const shown = region('div', () => [all.length, all.at(-1)?.at, level.value, filter.value], () => table({
    id: 'failures', label: 'Warnings and errors', empty: 'The log has no such line.',
    rows: all.filter(it => (!level.value || it.level === level.value) && matches(filter, it.text)).toReversed(),
    columns: [
      { title: 'When', of: row => row.at, cell: row => time(row.at) },
      { title: 'Level', of: row => row.level, cell: row => mark(row.level === 'error' ? 'bad' : 'warn', row.level === 'error' ? 'error' : 'warning') },
      { title: 'What', of: row => row.text, cell: row => h('span.mono.break', row.text) },
    ],
  }));
  level.addEventListener('change', shown.update);
  filter.addEventListener('input', shown.update);
  const read = async () => {
    all = await get('/v1/logs').catch(() => all);
    shown.update();
  };
  return { read, node: h('section.card.flush', h('header', h('h2', 'Log'), level, filter), shown) };
}

export async function failures(context) {
  const parts = [has('GET /v1/failures') && requests(), lines()].filter(Boolean);
  await Promise.all(parts.map(it => it.read()));
  let read = Date.now();
  context.onUpdate(async () => {
    if (Date.now() < read + AGAIN) return;
    read = Date.now();
    await Promise.all(parts.map(it => it.read()));
  });
  return [
    h('header.page', h('div', h('h1', 'Failures'), h('p.sub', 'The last requests that failed, and the last warnings and errors of the log'))),
    parts.map(it => it.node),
  ];
}
