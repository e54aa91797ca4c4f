// Failures: the last warnings and errors of the log, the newest first.

import { get } from '../api.js';
import { h, mark, region, time } from '../dom.js';
import { input, select } from '../form.js';
import { table } from '../table.js';

/** How often the log is read again, in milliseconds. */
const AGAIN = 4000;

export async function failures(context) {
  let lines = await get('/v1/logs');
  let read = Date.now();
  const level = select('level', [['', 'Warnings and errors'], ['error', 'Errors']], '', { 'aria-label': 'Which lines' });
  const filter = input('filter', { 'aria-label': 'Only lines with this text', placeholder: 'Filter', type: 'search' });
  const shown = region('div', () => [lines.length, lines.at(-1)?.at, level.value, filter.value], () => table({
    id: 'failures', label: 'Warnings and errors', empty: 'The log has no such line.',
    rows: lines.filter(it => (!level.value || it.level === level.value) && it.text.toLowerCase().includes(filter.value.trim().toLowerCase())).toReversed(),
    columns: [
      { title: 'When', of: row => row.at, cell: row => time(row.at) },
      { title: 'Level', of: row => row.level, cell: row => mark(row.level === 'error' ? 'bad' : 'warn', row.level === 'error' ? 'error' : 'warning') },
      { title: 'What', of: row => row.text, cell: row => h('span.mono.break', row.text) },
    ],
  }));
  level.addEventListener('change', shown.update);
  filter.addEventListener('input', shown.update);
  context.onUpdate(async () => {
    if (Date.now() < read + AGAIN) return;
    read = Date.now();
    lines = await get('/v1/logs').catch(() => lines);
    shown.update();
  });
  return [
    h('header.page', h('div', h('h1', 'Failures'), h('p.sub', 'The last warnings and errors of the log'))),
    h('section.card.flush', h('header', level, filter), shown),
  ];
}
