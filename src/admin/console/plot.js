// Plots over time, in SVG: lines from the samples of state.js, with the values under the pointer.

import { h, put, svg } from './dom.js';
import { count } from './format.js';

const HEIGHT = 140, LEFT = 44, BOTTOM = 20, TOP = 8;
/** How much time a plot may show, in minutes: the least that has all samples. */
const SPANS = [1, 2, 5];

/** The least round number that is not below `value`: 1, 2 or 5 times a power of ten. */
export function ceiling(value) {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map(step => step * power).find(step => step >= value * (1 - 1e-9));
}

/**
 * A plot. Each series is `{ name, of: sample => number, format }`; `samples()` are those of now. `update` draws it again.
 */
export function plot(title, series, samples, format = count) {
  const area = svg('svg', { class: 'plot', role: 'img' });
  const key = h('span.key');
  const node = h('figure', h('figcaption', h('span', title), key), area);
  let pointed = null;
  const draw = () => {
    const shown = samples();
    const last = shown.at(-1);
    const end = last?.at ?? Date.now();
    const minutes = SPANS.find(it => it * 60_000 >= end - (shown[0]?.at ?? end)) ?? SPANS.at(-1);
    const span = minutes * 60_000;
    const at = pointed === null ? last : nearest(shown, end - span + pointed * span);
    put(key, series.map((one, index) => h('span', h(`i.c${index}`), `${one.name} ${at ? format(one.of(at)) : '–'}`)));
    const words = series.map(one => `${one.name} ${last ? format(one.of(last)) : 'unknown'}`).join(', ');
    area.setAttribute('aria-label', `${title}, the last ${minutes} min; now ${words}`);
    put(area, shape({ series, seen: shown.filter(it => it.at >= end - span), end, minutes, cursor: pointed === null ? null : at, format, width: area.clientWidth || 600 }));
  };
  new ResizeObserver(draw).observe(area);
  area.addEventListener('pointermove', event => {
    const box = area.getBoundingClientRect();
    pointed = Math.min(1, Math.max(0, ((event.clientX - box.left) - LEFT) / (box.width - LEFT)));
    draw();
  });
  area.addEventListener('pointerleave', () => { pointed = null; draw(); });
  node.update = draw;
  draw();
  return node;
}

function nearest(samples, at) {
  return samples.reduce((best, sample) => !best || Math.abs(sample.at - at) < Math.abs(best.at - at) ? sample : best, undefined);
}

function shape({ series, seen, end, minutes, cursor, format, width }) {
  const top = ceiling(Math.max(...series.flatMap(one => seen.map(one.of)), 0));
  const x = time => LEFT + (1 - (end - time) / (minutes * 60_000)) * (width - LEFT);
  const y = value => TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM);
  const lines = [0, .5, 1].map(share => svg('line', { class: 'axis', x1: LEFT, x2: width, y1: y(share * top), y2: y(share * top) }));
  const curves = seen.length < 2 ? [] : series.flatMap((one, index) => {
    const points = seen.map(sample => `${x(sample.at).toFixed(1)} ${y(one.of(sample)).toFixed(1)}`);
    const path = `M${points.join('L')}`;
    const under = `${path}L${x(seen.at(-1).at).toFixed(1)} ${y(0)}L${x(seen[0].at).toFixed(1)} ${y(0)}Z`;
    return [index === 0 && svg('path', { class: `area c${index}`, d: under }), svg('path', { class: `line c${index}`, d: path })];
  });
  const pointer = cursor && svg('line', { class: 'cursor', x1: x(cursor.at), x2: x(cursor.at), y1: TOP, y2: HEIGHT - BOTTOM });
  const values = [1, .5, 0].map(share => svg('text', { x: 0, y: y(share * top) + 4 }, format(share * top)));
  const times = [[LEFT, `${minutes} min ago`, 'start'], [width, 'now', 'end']]
    .map(([at, text, anchor]) => svg('text', { x: at, y: HEIGHT - 4, 'text-anchor': anchor }, text));
  return [lines, curves, pointer, values, times];
}
