// Elements. Text is only ever set as text: a name is shown as it is, whatever it holds.

import { exact, relative } from './format.js';

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === 'function') node.addEventListener(name.replace(/^on/, ''), value);
    else if (name === 'value' || name === 'checked' || name === 'disabled' || name === 'indeterminate') node[name] = value;
    else node.setAttribute(name, value === true ? '' : String(value));
  }
  node.append(...children.flat(9).filter(child => child !== null && child !== undefined && child !== false)
    .map(child => child instanceof Node ? child : String(child)));
  return node;
}

function parts(rest) {
  const [first] = rest;
  const given = first && typeof first === 'object' && !Array.isArray(first) && !(first instanceof Node);
  return given ? [first, rest.slice(1)] : [{}, rest];
}

/** An element: `h('button.primary', { click: … }, 'Save')`. */
export function h(tag, ...rest) {
  const [name, ...classes] = tag.split('.');
  const node = document.createElement(name);
  if (classes.length) node.className = classes.join(' ');
  return fill(node, ...parts(rest));
}

/** The same in SVG. */
export function svg(tag, ...rest) {
  return fill(document.createElementNS(SVG, tag), ...parts(rest));
}

const MARKS = {
  good: 'M2.5 8.5 6.2 12.2 13.5 4.2',
  warn: 'M8 2.2 14.6 13.6H1.4Z M8 6.4v3.4 M8 11.5v.6',
  bad: 'M3.5 3.5l9 9 M12.5 3.5l-9 9',
  none: 'M3.5 8h9',
};

/** A word with the mark of its kind: good, warn, bad or none. */
export function mark(kind, ...text) {
  const path = svg('path', { d: MARKS[kind], fill: 'none', stroke: 'currentColor', 'stroke-width': 2, 'stroke-linecap': 'round', 'stroke-linejoin': 'round' });
  return h(`span.mark.${kind}`, svg('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' }, path), h('span', ...text));
}

export const pill = (kind, ...text) => h(`span.pill.${kind}`, ...text);

/** A time: how far away, and exactly when the pointer rests on it. */
export function time(text) {
  if (!text) return h('span.soft', 'never');
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return text;
  return h('time', { datetime: text, title: exact(date) }, relative(date));
}

/** Keeps the relative times true. */
export function keepTimes() {
  for (const node of document.querySelectorAll('time[datetime]')) {
    const text = relative(new Date(node.dateTime));
    if (node.textContent !== text) node.textContent = text;
  }
}

/** Puts `children` in place of what `node` holds; the focus and what was open stay, by their `data-key`. */
export function put(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const open = new Set([...node.querySelectorAll('details[open][data-key]')].map(details => details.dataset.key));
  node.replaceChildren(...children.flat(9).filter(Boolean));
  for (const details of node.querySelectorAll('details[data-key]')) {
    if (open.has(details.dataset.key)) details.open = true;
  }
  if (focused) node.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

/** A region that is drawn again only if `of()` differs from the last time. */
export function region(tag, of, draw) {
  const node = h(tag);
  let last;
  node.update = () => {
    const now = of();
    const text = JSON.stringify(now) ?? '';
    if (text === last) return;
    last = text;
    put(node, draw(now));
  };
  node.redraw = () => {
    last = undefined;
    node.update();
  };
  node.update();
  return node;
}

/** A card with a heading. */
export function card(title, actions, ...content) {
  return h('section.card', h('header', h('h2', title), actions && h('div.actions', actions)), ...content);
}

/** Names and values; what has no value is left out. */
export function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== undefined && value !== null && value !== '' && !(Array.isArray(value) && !value.length));
  return h('dl.facts', known.map(([name, value]) => [h('dt', name), h('dd', Array.isArray(value) ? value.join(', ') : value)]));
}

/** Runs `work` on a click; until it is done, the button says so. */
export function act(label, work, { kind = '', key, disabled, title } = {}) {
  const button = h(`button${kind && `.${kind.split(' ').join('.')}`}`, { type: 'button', 'data-key': key, disabled, title }, label);
  button.addEventListener('click', async () => {
    if (button.getAttribute('aria-busy')) return;
    button.setAttribute('aria-busy', 'true');
    try { await work(button); } catch (problem) { note(problem.message, 'bad'); }
    button.removeAttribute('aria-busy');
  });
  return button;
}

/** Most words in the corner at a time. */
const NOTES = 3;

/** A word in the corner: what was done, or why not. */
export function note(text, kind = 'good') {
  const node = h(`div.${kind}`, text);
  const all = document.getElementById('notes');
  all.append(node);
  while (all.children.length > NOTES) all.firstChild.remove();
  setTimeout(() => node.remove(), kind === 'bad' ? 12_000 : 5_000);
}

export function notice(kind, ...content) {
  return h(`div.notice.${kind}`, kind === 'bad' ? { role: 'alert' } : {}, ...content);
}
