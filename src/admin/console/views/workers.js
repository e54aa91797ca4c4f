// Workers: one thread for each CPU, what each has done, and all counters.

import { card, h, mark, region } from '../dom.js';
import { count } from '../format.js';
import { input } from '../form.js';
import { state } from '../state.js';
import { table } from '../table.js';

export function workers(context) {
  const list = region('div', () => state.status.workers, rows => table({
    id: 'workers', label: 'Workers', rows: rows.map((worker, index) => ({ ...worker, index })),
    columns: [
      { title: 'Worker', of: row => row.index },
      { title: 'CPU', of: row => row.cpu },
      { title: 'State', of: row => String(row.stuck), cell: row => row.stuck ? mark('bad', 'makes no progress') : mark('good', 'runs') },
      { title: 'Connections', of: row => row.connections_open, number: true },
      { title: 'Requests', of: row => row.requests, cell: row => count(row.requests), number: true },
    ],
  }));
  const filter = input('filter', { 'aria-label': 'Only counters with this in their name', placeholder: 'Filter', type: 'search' });
  const counters = region('div', () => [filter.value, state.status.totals], ([wanted, totals]) => table({
    id: 'counters', label: 'Counters', empty: 'No counter has this in its name.',
    rows: Object.entries(totals).filter(([name]) => name.includes(wanted.trim().toLowerCase())),
    columns: [
      { title: 'Counter', of: ([name]) => name, cell: ([name]) => h('span.mono.break', name) },
      { title: 'Since the start', of: ([, value]) => value, cell: ([, value]) => value.toLocaleString('en'), number: true },
    ],
  }));
  filter.addEventListener('input', counters.update);
  context.onUpdate(() => { list.update(); counters.update(); });
  const { status } = state;
  return [
    h('header.page', h('div', h('h1', 'Workers'), h('p.sub', `${status.driver}, version ${status.config.version} of the config`))),
    h('section.card.flush', list),
    h('section.card.flush', h('header', h('h2', 'Counters'), filter), counters),
  ];
}
