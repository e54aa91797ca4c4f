// What is presented to an upstream's backends and what they are trusted by, in each environment.

import { call, get, has, part } from '../api.js';
import { act, h, mark, note, region } from '../dom.js';
import { ask, check, contents, field, input, select } from '../form.js';
import { environments, refresh, state } from '../state.js';
import { table } from '../table.js';

/** The path of an upstream's keys in the config: of its own, or of its overlay for an environment. */
export const pathOf = (name, environment) => `/v1/upstreams/${part(name)}${environment ? `/environments/${part(environment)}` : ''}`;

/** Changes the TLS keys, as JSON that is merged (RFC 7396). */
export async function change(name, environment, tls, force = false) {
  const path = pathOf(name, environment);
  const outcome = await call('PATCH', force ? `${path}?force=true` : path, { tls }, { match: pathOf(name) });
  await refresh();
  return outcome;
}

export const stored = async () => (await get('/v1/certificates')).certificates;

/** What the config file says of the upstream, where the server tells. */
async function settings(name) {
  if (!has('GET /v1/upstreams/{name}')) return null;
  const found = await get(`/v1/upstreams/${part(name)}`);
  return found.config ?? found;
}

export async function tlsOf(find, context) {
  const { name } = find();
  let config = await settings(name).catch(() => null);
  const of = environment => (environment ? config?.environment?.[environment]?.tls : config?.tls) ?? {};
  const rows = () => [undefined, ...new Set([...find().overlays.map(it => it.environment), ...environments()])].map(environment => ({
    environment, upstream: environment ? find().overlays.find(it => it.environment === environment) : find().base, base: find().base, own: of(environment),
  }));
  const node = region('section.card.flush', () => [find() ? rows() : [], state.readOnly], ([all]) => [
    h('header', h('h2', 'Trust and mutual TLS'), h('span.soft.small', 'The default holds wherever an environment has no value of its own.')),
    table({ id: `tls-${name}`, label: `Trust and mutual TLS of ${name}`, rows: all, columns: columns(name, of, config, reload) }),
  ]);
  async function reload() {
    config = await settings(name).catch(() => null);
    await refresh();
    node.redraw();
    context.redraw();
  }
  return node;
}

function columns(name, of, config, reload) {
  const effective = (row, key) => row.own[key] ?? of(undefined)[key];
  const inherited = row => row.environment && !row.upstream?.client_certificate;
  const certificate = row => (row.upstream ?? row.base).client_certificate;
  return [
    { title: 'Environment', of: row => row.environment ?? '', cell: row => row.environment ?? h('strong', 'default') },
    { title: 'Mutual TLS', of: row => certificate(row) ?? '', cell: row => certificate(row)
      ? h('div', mark('good', 'on: ', h('a', { href: `#/certificates/${part(certificate(row))}` }, certificate(row))), (!row.upstream || (config && row.environment && row.own.certificate === undefined)) && h('div.soft.small', 'as the default'))
      : mark('none', row.own.certificate === false || !inherited(row) ? 'off' : 'off, as the default') },
    ...(config ? [
      { title: 'Trust', of: row => String(effective(row, 'trust') ?? 'system'), cell: row => h('div', names(effective(row, 'trust')), row.environment && !row.own.trust && h('div.soft.small', 'as the default')) },
      { title: 'Backend must ask', cell: row => effective(row, 'require_client_auth') ? 'yes' : 'no' },
    ] : []),
    ...(state.readOnly || !has('PATCH /v1/upstreams/{name}') ? [] : [{ title: '', cell: row => h('div.actions',
      act('Set mutual TLS', () => mutual(name, row, certificate(row), effective(row, 'require_client_auth'), reload), { kind: 'quiet', key: `mutual-${row.environment ?? ''}`, title: `Change mutual TLS of ${row.environment ?? 'the default'}` }),
      act('Set trust', () => trust(name, row, effective(row, 'trust'), reload), { kind: 'quiet', key: `trust-${row.environment ?? ''}`, title: `Change the trust of ${row.environment ?? 'the default'}` })) }]),
  ];
}

const names = trusted => [trusted ?? 'system'].flat().map(it => typeof it === 'string' ? it : it.path ?? JSON.stringify(it)).join(', ');

/** Mutual TLS: on with a certificate, or off. */
async function mutual(name, row, now, required, reload) {
  const usable = (await stored()).filter(it => it.has_key && it.active !== null);
  const off = ['(off)', '(off: present no certificate)'];
  const choice = select('certificate', [...(row.environment ? [['', '(as the default)']] : []), off, ...usable.map(it => [it.name, `${it.name}${it.days_left === null ? '' : `, ${it.days_left} days left`}`])], row.environment && row.own.certificate === undefined ? '' : now ?? '(off)');
  await ask({
    title: `Mutual TLS of ${name}${row.environment ? ` in ${row.environment}` : ''}`, label: 'Apply',
    text: 'The certificate is presented to a backend that asks for one. The change is written into the config file, and holds for new connections at once.',
    fields: [
      field('Client certificate', choice, usable.length ? 'Certificates of the store with their key' : 'The store has no certificate with a key: generate one, or bring one.'),
      check('required', 'Refuse a backend that never asks for it', Boolean(required)),
    ],
    submit: async given => {
      const chosen = given.certificate === off[0] ? null : given.certificate;
      const required = chosen && given.required ? true : null;
      // In an environment, off is a choice of its own: without it, the default's certificate is presented.
      const certificate = row.environment && given.certificate === off[0] ? false : chosen || null;
      await change(name, row.environment, { certificate, require_client_auth: required });
      note(chosen ? `${chosen} is presented to ${name}${row.environment ? ` in ${row.environment}` : ''}` : 'The certificate is no longer presented');
      await reload();
    },
  });
}

/** The choice of what is trusted: the authorities of the system, certificates of the store, or one that is uploaded here. */
export function trustFields(known, now) {
  const chosen = new Set([now ?? 'system'].flat().filter(it => typeof it === 'string'));
  const boxes = [['system', 'The authorities that this system trusts'], ...known.filter(it => it.active !== null).map(it => [it.name, `${it.name}: ${it.subject ?? ''}`])]
    .map(([value, text]) => h('label.check', h('input', { type: 'checkbox', name: `trust:${value}`, checked: chosen.has(value) }), h('span.break', text)));
  const file = h('input', { type: 'file', name: 'file', accept: '.pem,.crt,.cer,.der' });
  return [boxes, h('details', h('summary', 'Add a CA, or the backend’s own certificate'), h('div.stack',
    h('div.fields', field('Its name in the store', input('trust_name', { pattern: '[a-z0-9][a-z0-9._\\-]{0,63}', placeholder: 'orders-ca' })), field('File', file, 'PEM or DER')),
    field('Or pasted PEM', h('textarea', { name: 'pem', spellcheck: 'false' }))))];
}

/** What these fields mean, as the config has it. What is uploaded is brought into the store. */
export async function trustOf(given, others) {
  const wanted = Object.keys(given).filter(key => key.startsWith('trust:') && given[key]).map(key => key.slice(6));
  const pem = given.file ? await contents(given.file) : given.pem.trim();
  if (pem) {
    if (!given.trust_name) throw new Error('Give the certificate a name in the store.');
    await call('POST', '/v1/certificates/import', { name: given.trust_name, certificate: pem });
    wanted.push(given.trust_name);
  }
  const all = [...new Set([...wanted, ...others])];
  if (!all.length) throw new Error('Choose what is trusted.');
  return all;
}

async function trust(name, row, now, reload) {
  const known = await stored();
  const others = [now ?? []].flat().filter(it => typeof it !== 'string' || (it !== 'system' && !known.some(one => one.name === it)));
  await ask({
    title: `Trust of ${name}${row.environment ? ` in ${row.environment}` : ', the default'}`, label: 'Apply',
    text: 'What the backend’s certificate is checked against.',
    fields: [
      h('fieldset', h('legend', 'Trusted'), trustFields(known, now), others.length > 0 && check('kept', `Keep what else is in the config: ${names(others)}`, true)),
      row.environment && check('inherit', 'No value of its own: trust what the default trusts'),
      has('POST /v1/apis') && check('force', 'Do it although a backend is not verified'),
    ],
    submit: async given => {
      const trust = given.inherit ? null : await trustOf(given, given.kept ? others : []);
      await change(name, row.environment, { trust }, given.force);
      note(`Trust of ${name} is changed`);
      await reload();
    },
  });
}
