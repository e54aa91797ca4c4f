// Promote: what one environment presents to an upstream's backends, beside the next environment, which may take it over.

import { call, get, has, part } from '../api.js';
import { known, verdict } from '../chain.js';
import { act, card, facts, h, mark, note, notice } from '../dom.js';
import { field, select } from '../form.js';
import { environments, refresh, state, upstreams } from '../state.js';
import { change, pathOf, stored } from './upstream_tls.js';

const DEFAULT = '';
const title = environment => environment || 'default';

/** What is chosen in the page; it outlives a drawing. No certificate: that of `from`. */
const chosen = { upstream: null, from: null, to: null, certificate: null };

function find(name, environment) {
  const { base, overlays } = upstreams().find(it => it.name === name);
  return environment ? overlays.find(it => it.environment === environment) ?? base : base;
}

function side(name, environment, certificates, heading) {
  const upstream = find(name, environment);
  const certificate = certificates.find(it => it.name === upstream.client_certificate);
  const own = !environment || upstream.environment;
  return card(`${heading}: ${title(environment)}`, null, facts([
    ['Certificate', upstream.client_certificate ? h('a', { href: `#/certificates/${part(upstream.client_certificate)}` }, upstream.client_certificate) : 'none, mutual TLS is off'],
    ['Generation', certificate?.active && `#${certificate.active}`],
    ['Subject', certificate?.subject],
    ['Ends', certificate?.not_after && h('span', certificate.not_after.slice(0, 10), `, ${certificate.days_left} days left`)],
    ['Endpoints', upstream.endpoints.join(', ')],
    ['Values', own ? 'its own' : 'those of the default'],
    ['Backends', upstream.backend_tls ? h('div', upstream.backend_tls.endpoints.map(it => h('div', h('span.mono', it.address ?? it.endpoint), ' ', verdict(known(upstream, it))))) : 'plain'],
  ]));
}

export async function promote(context) {
  const all = upstreams().filter(it => it.base.tls);
  const heading = h('header.page', h('div', h('h1', 'Promote'), h('p.sub', 'The choice of one environment, for the next one')));
  if (!all.length) return [heading, notice('', 'No upstream has TLS.')];
  const places = [DEFAULT, ...environments()];
  if (!all.some(it => it.name === chosen.upstream)) chosen.upstream = context.args[0] && all.some(it => it.name === context.args[0]) ? context.args[0] : (all.find(it => [it.base, ...it.overlays].some(one => one.client_certificate)) ?? all[0]).name;
  if (!places.includes(chosen.from)) chosen.from = places.find(it => /^dev/.test(it)) ?? places[0];
  if (!places.includes(chosen.to)) chosen.to = places.find(it => /^prod/.test(it)) ?? places.find(it => it !== chosen.from) ?? places[0];
  // What is changed is what is shown: its ETag is read with it.
  const [certificates] = await Promise.all([stored(), get(pathOf(chosen.upstream))]);
  const pick = (name, options, label) => {
    const control = select(name, options, chosen[name], { change: event => {
      Object.assign(chosen, { certificate: null, [name]: event.target.value });
      context.again();
    }, 'data-key': `promote-${name}` });
    return field(label, control);
  };
  const named = places.map(place => [place, title(place)]);
  const from = find(chosen.upstream, chosen.from);
  const usable = certificates.filter(it => it.has_key && it.active !== null);
  const target = select('certificate', usable.map(it => [it.name, `${it.name}, ${it.days_left} days left${it.name === from.client_certificate ? ` (as in ${title(chosen.from)})` : ''}`]), chosen.certificate ?? from.client_certificate ?? find(chosen.upstream, chosen.to).client_certificate ?? '', { 'data-key': 'promote-certificate', change: event => { chosen.certificate = event.target.value; } });
  const now = find(chosen.upstream, chosen.to).client_certificate;
  const apply = act('Promote', async () => {
    if (!target.value) throw new Error('Choose a certificate.');
    if (has('POST /v1/upstreams/{name}/promote') && chosen.from && chosen.to) {
      await call('POST', `/v1/upstreams/${part(chosen.upstream)}/promote`, { from: chosen.from, to: chosen.to, certificate: target.value }, { match: pathOf(chosen.upstream) });
      await refresh();
    } else await change(chosen.upstream, chosen.to || undefined, { certificate: target.value });
    note(`${title(chosen.to)} presents ${target.value}`);
    context.again();
  }, { kind: 'primary', key: 'promote', disabled: chosen.from === chosen.to || !usable.length });
  return [
    heading,
    h('section.card', h('div.fields', pick('upstream', all.map(it => [it.name, it.name]), 'Upstream'), pick('from', named, 'From'), pick('to', named, 'To'))),
    chosen.from === chosen.to && notice('warn', 'Choose two environments that differ.'),
    places.length < 2 && notice('', 'No environment is named yet: a listener chooses one with its key “environment”, or an upstream has values of its own for one.'),
    h('div.grid', side(chosen.upstream, chosen.from, certificates, 'From'), side(chosen.upstream, chosen.to, certificates, 'To')),
    !state.readOnly && chosen.from !== chosen.to && card(`What ${title(chosen.to)} is to present`, null,
      field('Certificate', target, 'The same one, or one of its own for this environment'),
      h('p', now ? mark('none', `Now: ${now}`) : mark('none', 'Now: none')), h('div.actions', apply)),
  ];
}
