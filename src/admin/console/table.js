// Tables that sort by a click on a column's head, and stack where it is narrow.

import { h, put } from './dom.js';

/** How each table is sorted, while the page is open. */
const sorted = new Map();

function compare(one, other) {
  if (typeof one === 'number' && typeof other === 'number') return one - other;
  return String(one ?? '').localeCompare(String(other ?? ''), 'en', { numeric: true });
}

/**
 * A table. A column is `{ title, of: row => value to sort by, cell: row => content, number: true }`; without `of` it
 * does not sort.
 */
export function table({ id, label, columns, rows, empty = 'Nothing yet.' }) {
  if (!rows.length) return h('p.empty', empty);
  const node = h('table', { role: 'table', 'aria-label': label });
  const draw = () => {
    const order = sorted.get(id);
    const column = order && columns[order.column];
    const shown = column?.of ? [...rows].sort((a, b) => compare(column.of(a), column.of(b)) * order.sign) : rows;
    put(node, head(columns, order, id, draw), body(columns, shown));
  };
  draw();
  return h('div.scroll', node);
}

function head(columns, order, id, draw) {
  const cells = columns.map((column, index) => {
    const is = order?.column === index;
    const turn = () => {
      sorted.set(id, { column: index, sign: is ? -order.sign : 1 });
      draw();
    };
    const sort = is ? (order.sign > 0 ? 'ascending' : 'descending') : undefined;
    const kind = column.number ? 'th.number' : 'th';
    const title = column.title || h('span.hidden', 'Actions');
    return h(kind, { role: 'columnheader', scope: 'col', 'aria-sort': sort },
      column.of ? h('button', { type: 'button', click: turn, 'data-key': `${id}-${index}` }, column.title) : title);
  });
  return h('thead', { role: 'rowgroup' }, h('tr', { role: 'row' }, cells));
}

function body(columns, rows) {
  return h('tbody', { role: 'rowgroup' }, rows.map(row => h('tr', { role: 'row' }, columns.map(column => {
    const content = column.cell ? column.cell(row) : column.of(row);
    return h(column.number ? 'td.number' : 'td', { role: 'cell', 'data-label': column.title ?? '' }, h('div', content ?? ''));
  }))));
}
