// Upstreams: their endpoints, the certificates of the backends, trust and mutual TLS for each environment.

import { call, has, part } from '../api.js';
import { details, known, ours, remember, verdict } from '../chain.js';
import { act, card, facts, h, mark, note, notice, pill, region, time } from '../dom.js';
import { count, several } from '../format.js';
import { ask, check, confirm, field, input } from '../form.js';
import { refresh, state, upstreams as all } from '../state.js';
import { table } from '../table.js';
import { editKeys, registerApi, remove as removeSection } from './register.js';
import { tlsOf } from './upstream_tls.js';

const STATES = { up: 'good', down: 'bad', ejected: 'warn', unknown: 'none' };
const WORDS = { up: 'up', down: 'down', ejected: 'ejected', unknown: 'not used yet' };

/** The worst of what is known of an upstream's endpoints. */
function worst(upstream) {
  const order = ['bad', 'refused', 'none', 'warn', 'good'];
  const kind = it => it.refused ? 'refused' : it.state;
  const found = upstream.backend_tls.endpoints.map(endpoint => known(upstream, endpoint));
  return found.sort((one, other) => order.indexOf(kind(one)) - order.indexOf(kind(other))
    || (one.chain[0]?.days_left ?? 0) - (other.chain[0]?.days_left ?? 0))[0];
}

function tlsCell(upstream) {
  if (!upstream.backend_tls) return h('span.soft', 'plain, no TLS');
  const found = worst(upstream);
  return found ? verdict(found) : mark('none', 'no endpoint');
}

function list(context) {
  const shown = region('div', () => state.status.upstreams, () => table({
    id: 'upstreams', label: 'Upstreams', empty: 'There is no upstream yet.', rows: all(),
    columns: [
      { title: 'Name', of: row => row.name, cell: row => h('a', { href: `#/upstreams/${part(row.name)}`, 'data-key': row.name }, row.name) },
      { title: 'Endpoints', of: row => row.base.addresses.length, cell: row => healthOf(row.base.addresses) },
      { title: 'Backend’s certificate', cell: row => tlsCell(row.base) },
      { title: 'Mutual TLS', of: row => row.base.client_certificate ?? '', cell: row => identities(row) },
      { title: 'Requests', of: row => requests(row), cell: row => count(requests(row)), number: true },
    ],
  }));
  context.onUpdate(shown.update);
  return [h('header.page', h('div', h('h1', 'Upstreams'), h('p.sub', 'Where traffic goes, and whether the backends can be trusted')), !state.readOnly && has('POST /v1/apis') && act('Register an API', registerApi, { kind: 'primary', key: 'register' })), h('section.card.flush', shown)];
}

const requests = row => [row.base, ...row.overlays].flatMap(it => it.addresses).reduce((sum, it) => sum + it.requests, 0);

function healthOf(addresses) {
  const usable = addresses.filter(it => !['down', 'ejected'].includes(it.state)).length;
  const fresh = addresses.every(it => it.state === 'unknown');
  const kind = fresh ? 'none' : usable === addresses.length ? 'good' : usable ? 'warn' : 'bad';
  return mark(kind, fresh ? several(addresses.length, 'endpoint') : `${usable} of ${addresses.length} usable`);
}

function identities({ base, overlays }) {
  const named = [base, ...overlays].filter(it => it.client_certificate);
  if (!named.length) return h('span.soft', 'off');
  return h('div.row', named.map(it => pill('', it.environment ? `${it.environment}: ` : '', it.client_certificate)));
}

/** The table of endpoints of one upstream, or overlay. */
function endpoints(upstream, context) {
  const changeable = !state.readOnly && !upstream.environment && has('PATCH /v1/upstreams/{name}/endpoints/{address}');
  const path = address => `/v1/upstreams/${part(upstream.name)}/endpoints/${part(address.endpoint)}`;
  const change = (address, keys, said) => async () => {
    await call('PATCH', path(address), keys, { match: `/v1/upstreams/${part(upstream.name)}` });
    note(said);
    await refresh();
  };
  return table({
    id: `endpoints-${upstream.name}`, label: `Endpoints of ${upstream.name}`, rows: upstream.addresses, empty: 'It has no endpoint.',
    columns: [
      { title: 'Endpoint', of: row => row.endpoint, cell: row => h('div', h('span.mono.break', row.endpoint), row.address && row.address !== row.endpoint && h('div.soft.small', row.address)) },
      { title: 'Health', of: row => row.state, cell: row => h('div', mark(STATES[row.state], WORDS[row.state], row.drain ? ', drains' : ''), row.reason && h('div.soft.small.break', row.reason), row.since && h('div.soft.small', 'since ', time(row.since))) },
      { title: 'Check', of: row => row.check?.milliseconds ?? -1, cell: row => row.check ? h('span', row.check.fault ? 'failed, ' : `${row.check.milliseconds} ms, `, time(row.check.at)) : h('span.soft', 'none') },
      { title: 'Weight', of: row => row.weight, cell: row => h('span', row.weight, row.backup ? ' (backup)' : ''), number: true },
      { title: 'Now', of: row => row.in_flight, number: true },
      { title: 'Requests', of: row => row.requests, cell: row => count(row.requests), number: true },
      ...(changeable ? [{ title: '', cell: row => h('div.actions',
        act(row.drain ? 'Enable' : 'Drain', change(row, { drain: !row.drain }, row.drain ? `${row.endpoint} gets requests again` : `${row.endpoint} gets no new requests`), { kind: 'quiet', key: `drain-${row.endpoint}`, title: row.drain ? `Send requests to ${row.endpoint} again` : `Send no new requests to ${row.endpoint}` }),
        act('Weight', () => weight(row, path(row)), { kind: 'quiet', key: `weight-${row.endpoint}`, title: `Change the weight of ${row.endpoint}` }),
        act('Remove', () => remove(row, path(row)), { kind: 'quiet danger', key: `remove-${row.endpoint}`, title: `Remove ${row.endpoint}` })) }] : []),
    ],
  });
}

const weight = (row, path) => ask({
  title: `Weight of ${row.endpoint}`, label: 'Change', text: 'Its share of the traffic, beside the weights of the others.',
  fields: [field('Weight', input('weight', { type: 'number', min: 1, max: 1000, value: row.weight, required: true }))],
  submit: async ({ weight: wanted }) => {
    await call('PATCH', path, { weight: Number(wanted) });
    await refresh();
  },
});

const remove = (row, path) => confirm(`Remove ${row.endpoint}?`, 'It is taken out of the config file, and gets no new requests. What is under way there goes on.', 'Remove', async () => {
  await call('DELETE', path);
  note(`${row.endpoint} is removed`);
  await refresh();
});

const add = upstream => ask({
  title: `Add an endpoint to ${upstream.name}`, label: 'Add',
  fields: [h('div.fields', field('Address', input('address', { required: true, placeholder: '10.0.0.3:8443' }), 'HOST:PORT, unix:PATH, dns:HOST:PORT, srv:NAME or file:PATH'),
    field('Weight', input('weight', { type: 'number', min: 1, max: 1000, value: 1 }))), check('backup', 'Backup: used only where no other endpoint can be')],
  submit: async given => {
    await call('POST', `/v1/upstreams/${part(upstream.name)}/endpoints`, { address: given.address, weight: Number(given.weight) || 1, backup: given.backup });
    note(`${given.address} is added`);
    await refresh();
  },
});

/** Makes a handshake with each endpoint, and shows what it said. */
function probe(name, environment, target, context) {
  return act('Probe now', async () => {
    target.replaceChildren(h('div.stack', h('p.soft', 'Each endpoint is asked …'), h('progress', { 'aria-label': 'Probe' })));
    try {
      const found = await call('POST', `/v1/upstreams/${part(name)}/probe`, environment ? { environment } : {});
      remember(environment ? `${name}@${environment}` : name, found.endpoints);
      target.replaceChildren(probed(found));
      await refresh();
      context.redraw();
    } catch (problem) { target.replaceChildren(notice('bad', problem.message)); }
  }, { key: `probe-${environment ?? ''}` });
}

function probed(found) {
  const [good, all] = [found.endpoints.filter(it => it.ok).length, found.endpoints.length];
  return notice(found.ok ? 'good' : 'bad', mark(found.ok ? 'good' : 'bad', `Traffic would flow to ${good} of ${several(all, 'endpoint')}.`),
    h('ul.plain', found.endpoints.map(report => h('li', h('span.mono', report.endpoint), ': ', report.problem ?? 'ok', ', ',
      ours({ client_certificate: report.client_certificate.verdict, presented: report.identity }), report.http ? `, ${report.http.request} was answered with ${report.http.status}` : '',
      `, ${report.milliseconds} ms`))));
}

/** The certificates of the backends, endpoint by endpoint. */
function backends(upstream) {
  if (!upstream.backend_tls) return h('p', mark('none', 'Connections to it are plain.'));
  return h('div.stack', upstream.backend_tls.endpoints.map(endpoint => {
    const it = known(upstream, endpoint);
    const name = endpoint.address ?? endpoint.endpoint;
    const failures = endpoint.failures.reduce((sum, one) => sum + one.count, 0);
    return h('details', { 'data-key': `chain-${upstream.name}-${name}` },
      h('summary', h('span.mono', name), ' ', verdict(it), failures > 0 && h('span.soft.small', ` · ${several(failures, 'failed handshake')} so far`)), details(it));
  }));
}

async function one(context, name) {
  const find = () => all().find(it => it.name === name);
  if (!find()) return [h('header.page', h('h1', 'Upstreams')), notice('warn', `There is no upstream ${name}.`), h('a', { href: '#/upstreams' }, 'All upstreams')];
  const answers = h('div');
  const table = region('div', () => [find()?.base.addresses, state.readOnly], () => find() && endpoints(find().base, context));
  const chains = region('div', () => [find()?.base.backend_tls, find()?.overlays.map(it => it.backend_tls)], () => find() && [
    backends(find().base),
    find().overlays.filter(it => it.backend_tls).map(it => h('div.stack', h('h3', `In ${it.environment}`), backends(it))),
  ]);
  context.redraw = chains.redraw;
  const tls = await tlsOf(find, context);
  context.onUpdate(() => { table.update(); chains.update(); tls.update(); });
  const { base, overlays } = find();
  const changeable = !state.readOnly;
  return [
    h('header.page', h('div', h('a.crumb', { href: '#/upstreams' }, 'Upstreams'), h('h1.break', name), h('p.sub', `${several(base.endpoints.length, 'endpoint')}${overlays.length ? `, with values of its own in ${overlays.map(it => it.environment).join(', ')}` : ''}`)), sectionButtons(name, context)),
    h('section.card', h('header', h('h2', 'Backend’s certificate'), has('POST /v1/upstreams/{name}/probe') && h('div.actions',
      probe(name, undefined, answers, context), overlays.map(it => h('span.row', h('span.soft.small', it.environment), probe(name, it.environment, answers, context))))), chains, answers),
    tls,
    h('section.card.flush', h('header', h('h2', 'Endpoints'), changeable && has('POST /v1/upstreams/{name}/endpoints') && act('Add an endpoint', () => add(find().base), { key: 'add-endpoint' })), table),
    limits(base),
  ];
}

function sectionButtons(name, context) {
  const path = `/v1/upstreams/${part(name)}`;
  if (state.readOnly || !has('GET /v1/upstreams/{name}')) return null;
  return h('div.actions', act('Edit keys', () => editKeys(path, `Keys of ${name}`, () => context.again()), { key: 'edit' }),
    has('DELETE /v1/apis/{name}') && act('Remove', () => removeSection(`/v1/apis/${part(name)}`, `${name} with the routes that lead to it`, () => { location.hash = '#/upstreams'; }, '?force=true'), { kind: 'danger', key: 'remove' }));
}

function limits(base) {
  if (!base.limits.length && !base.retries && !base.retries_refused) return null;
  return card('Bounds and retries', null, facts([
    ...base.limits.map(it => [it.limit, `${count(it.now)} now, ${count(it.refused)} refused`]),
    ['Sent again', count(base.retries)], ['Not sent again, for want of budget', count(base.retries_refused)],
  ]));
}

export async function upstreams(context) {
  const [name] = context.args;
  return name ? one(context, name) : list(context);
}
