// Consumers and their credentials: the queue of requests, and what becomes of each credential.

import { call, get, has, part } from '../api.js';
import { until } from '../chain.js';
import { act, card, facts, h, mark, note, notice, pill, time } from '../dom.js';
import { ask, check, confirm, contents, field, input, select } from '../form.js';
import { follow, state } from '../state.js';
import { table } from '../table.js';
import { save } from './certificates.js';

const STATES = { requested: 'warn', approved: 'warn', denied: 'none', active: 'good', suspended: 'warn', expired: 'bad', revoked: 'none' };
const NAME = '[a-z0-9][a-z0-9._\\-]{0,63}';
const credentials = name => `/v1/credentials/${part(name)}`;

const link = name => h('a', { href: `#/consumers/${part(name)}`, 'data-key': `c-${name}` }, name);
const linkTo = row => h('a', { href: `#/consumers/credential/${part(row.name)}`, 'data-key': row.name }, row.name);
/** The requester. By the page for consumers, name and contact are a stranger's words. */
function asker(row, consumers) {
  const it = consumers.find(one => one.name === row.consumer);
  return h('div', link(row.consumer), row.portal && it && h('div.soft.small.break', `by the page for consumers: ${it.title}, ${it.contact}`));
}

const stateOf = row => mark(STATES[row.state] ?? 'none', row.state);

function ends(row) {
  if (!row.expires) return ['active', 'suspended'].includes(row.state) ? h('span.soft', 'no end') : '';
  return h('div', until(row.expires, row.days_left ?? Math.floor((new Date(row.expires) - Date.now()) / 86_400_000)), h('div.soft.small', time(row.expires)));
}

/** What is asked for, in words. */
const kinds = definition => [definition.api_key && 'API key', definition.mtls && 'mutual TLS'].filter(Boolean).join(' and ') || 'nothing';

async function list(context) {
  const [{ consumers }, { credentials: all }, { definitions }] = await Promise.all([get('/v1/consumers'), get('/v1/credentials'), get('/v1/credential-definitions')]);
  const queue = all.filter(it => ['requested', 'approved'].includes(it.state));
  const again = () => context.again();
  const actions = !state.readOnly && h('div.actions', act('Add a consumer', () => addConsumer().then(name => name && again()), { key: 'add-consumer' }),
    act('Request a credential', () => request(consumers, definitions).then(name => name && again()), { kind: 'primary', key: 'request', disabled: !consumers.length || !definitions.length }));
  return [
    h('header.page', h('div', h('h1', 'Consumers'), h('p.sub', 'Who calls the APIs, and with what')), actions),
    h('section.card.flush', h('header', h('h2', 'Waiting for a decision')), table({
      id: 'queue', label: 'Waiting for a decision', rows: queue, empty: 'No request waits.',
      columns: [
        { title: 'Credential', of: row => row.name, cell: linkTo }, { title: 'Consumer', of: row => row.consumer, cell: row => asker(row, consumers) },
        { title: 'Definition', of: row => row.definition, cell: row => h('div', row.definition, row.description && h('div.soft.small.break', row.description)) }, { title: 'State', of: row => row.state, cell: stateOf }, { title: 'Since', of: row => row.since, cell: row => time(row.since) },
        { title: '', cell: row => h('div.actions', buttons(row, again)) },
      ],
    })),
    h('section.card.flush', h('header', h('h2', 'Consumers')), table({
      id: 'consumers', label: 'Consumers', rows: consumers, empty: 'There is no consumer yet.',
      columns: [
        { title: 'Name', of: row => row.name, cell: row => h('div', link(row.name), row.title && h('div.soft.small.break', row.title)) },
        { title: 'Contact', of: row => row.contact, cell: row => h('span.break', row.contact) },
        { title: 'Credentials', of: row => row.credentials.length, cell: row => h('div.row', row.credentials.map(it => pill(STATES[it.state] === 'none' ? '' : STATES[it.state], it.definition, ': ', it.state))) },
        { title: 'Added', of: row => row.created, cell: row => time(row.created) },
      ],
    })),
    h('section.card.flush', h('header', h('h2', 'Credentials')), table({
      id: 'credentials', label: 'Credentials', rows: all, empty: 'There is no credential yet.',
      columns: [
        { title: 'Name', of: row => row.name, cell: linkTo }, { title: 'Consumer', of: row => row.consumer, cell: row => link(row.consumer) },
        { title: 'Definition', of: row => row.definition }, { title: 'State', of: row => row.state, cell: stateOf }, { title: 'Ends', of: row => row.expires ?? '~', cell: ends },
      ],
    })),
    card('Definitions', null, definitions.length ? h('ul.plain', definitions.map(it => h('li.break', h('strong', it.title || it.name), ` (${it.name}): ${kinds(it)}, `,
      it.expiry_seconds ? `valid for ${Math.round(it.expiry_seconds / 86_400)} days` : 'without an end', `, approval ${it.approval}`, it.issuer && `, signed by ${it.issuer}`)))
      : h('p.soft', 'The config has no [credentials.NAME] that could be asked for.')),
  ];
}

const addConsumer = () => ask({
  title: 'Add a consumer', label: 'Add',
  fields: [h('div.fields', field('Name', input('name', { required: true, pattern: NAME, placeholder: 'acme' })), field('Title', input('title', { placeholder: 'ACME Ltd.' })), field('Contact', input('contact', { placeholder: 'api@acme.example' })))],
  submit: async given => {
    await call('POST', '/v1/consumers', given);
    note(`${given.name} is added`);
    return given.name;
  },
});

const pem = (name, label, hint) => h('div.stack', field(label, h('textarea', { name, spellcheck: 'false', placeholder: '-----BEGIN …' }), hint), field('Or as a file', h('input', { type: 'file', name: `${name}_file` })));

async function material(given) {
  const read = async name => given[`${name}_file`] ? contents(given[`${name}_file`]) : given[name]?.trim();
  const [csr, certificate] = [await read('csr'), await read('certificate')];
  return { ...(csr && { csr }), ...(certificate && { certificate }) };
}

const request = (consumers, definitions, consumer) => ask({
  title: 'Request a credential', label: 'Request',
  fields: [
    h('div.fields', field('Consumer', select('consumer', consumers.map(it => it.name), consumer)), field('Definition', select('definition', definitions.map(it => [it.name, `${it.title || it.name}: ${kinds(it)}`]))), field('Name', input('name', { pattern: NAME, placeholder: 'made of both' }))),
    field('What it is for', input('description')),
    definitions.some(it => it.javascript_origins) && field('JavaScript origins', input('origins', { placeholder: 'https://app.acme.example' }), 'Pages that may call with it, separated by commas'),
    definitions.some(it => it.mtls) && h('details', h('summary', 'Client certificate'), h('div.stack', pem('csr', 'Request (CSR)', 'For the definition’s CA to sign'), pem('certificate', 'Its own certificate', 'Recognised by its SHA-256'))),
  ],
  submit: async given => {
    const origins = (given.origins ?? '').split(',').map(it => it.trim()).filter(Boolean);
    const { consumer, definition, name, description } = given;
    const made = await call('POST', '/v1/credentials', { consumer, definition, ...(name && { name }), ...(description && { description }), ...(origins.length && { origins }), ...await material(given) });
    note(`${made.name} is ${made.state}`);
    await handOver(made);
    return made.name;
  },
});

/** Shows what is shown only once. */
export async function handOver(made) {
  for (const warning of made.warnings ?? []) note(warning, 'bad');
  if (!made.key && !made.certificate) return;
  const shown = h('pre', { tabindex: 0, 'aria-label': 'API key', 'data-once': 'key' }, made.key);
  await ask({
    title: `${made.name} is issued`,
    fields: [
      made.key && [notice('warn', 'The key is shown this once. Only its SHA-256 is kept: hand it over now.'), shown,
        h('div.row', act('Copy the key', async () => { await navigator.clipboard.writeText(made.key); note('Copied'); }))],
      made.certificate && [h('h3', 'Client certificate'), h('pre', { tabindex: 0, 'aria-label': 'Client certificate' }, made.certificate), h('div.row', act('Download PEM', async () => save(`${made.name}.pem`, made.certificate)))],
    ],
  });
  shown.textContent = '';
}

/** What can be done with a credential in its state. */
function buttons(row, again) {
  if (state.readOnly) return null;
  const path = credentials(row.name);
  const of = (...states) => states.includes(row.state);
  const plain = (label, verb, kind) => act(label, async () => {
    const made = await call('POST', `${path}/${verb}`, {}, { match: path });
    note(`${row.name} is ${made.state}`);
    await handOver(made);
    again();
  }, { kind, key: `${verb}-${row.name}`, title: `${label} ${row.name}` });
  const reasoned = (label, verb, text) => act(label, () => ask({
    title: `${label} ${row.name}?`, text, label, kind: 'primary danger', fields: [field('Reason', input('reason'), 'It is kept with the credential')],
    submit: async ({ reason }) => {
      const made = await call('POST', `${path}/${verb}`, reason ? { reason } : {}, { match: path });
      note(`${row.name} is ${made.state}`);
      again();
    },
  }), { kind: 'danger', key: `${verb}-${row.name}`, title: `${label} ${row.name}` });
  return [
    of('requested') && act('Approve', () => approve(row, path).then(again), { kind: 'primary', key: `approve-${row.name}`, title: `Approve ${row.name}` }),
    // By the page for consumers, the key is for the holder of the code.
    of('approved') && (row.portal ? h('span.soft', 'to be collected by its code') : plain('Issue', 'issue', 'primary')),
    of('requested', 'approved') && reasoned('Deny', 'deny', 'The consumer gets no credential.'),
    of('suspended') && plain('Resume', 'resume', 'primary'),
    of('active') && row.suspendable !== false && reasoned('Suspend', 'suspend', 'Calls with it are refused with 403 from now on, on every worker, until it is resumed.'),
    of('active', 'suspended', 'expired') && act('Renew', () => renew(row, path).then(again), { key: `renew-${row.name}`, title: `Renew ${row.name}` }),
    of('active', 'suspended', 'expired', 'approved') && reasoned('Revoke', 'revoke', 'It ends for good.'),
  ];
}

/** Approves, and issues what needs nothing more. */
async function approve(row, path) {
  const approved = await call('POST', `${path}/approve`, {}, { match: path });
  note(`${row.name} is ${approved.state}`);
  if (approved.key || approved.certificate) return handOver(approved);
  if (approved.state === 'approved' && !row.portal) await handOver(await call('POST', `${path}/issue`, {}));
}

const renew = (row, path) => ask({
  title: `Renew ${row.name}`, label: 'Renew', text: 'It gets a later end, as its definition says.',
  fields: [row.api_key && check('new_key', 'Make a new key'), (row.csr || row.certificates?.length > 0) && h('details', h('summary', 'Another certificate'), h('div.stack', pem('csr', 'Request (CSR)'), pem('certificate', 'Its own certificate'))),
    field('The one before still counts for', input('overlap', { type: 'number', min: 0, value: 0 }), 'Hours')],
  submit: async given => {
    const made = await call('POST', `${path}/renew`, { ...(given.new_key && { new_key: true }), ...await material(given), overlap_seconds: Math.round(Number(given.overlap || 0) * 3600) }, { match: path });
    note(`${row.name} is renewed`);
    await handOver(made);
  },
});

async function consumer(context, name) {
  const path = `/v1/consumers/${part(name)}`;
  const [it, { definitions }] = await Promise.all([get(path), get('/v1/credential-definitions')]);
  const change = () => ask({
    title: `Change ${name}`, label: 'Save', fields: [h('div.fields', field('Title', input('title', { value: it.title })), field('Contact', input('contact', { value: it.contact })))],
    submit: given => call('PATCH', path, given, { match: path }).then(() => context.again()),
  });
  const erase = () => ask({
    title: `Delete ${name}?`, text: 'All its credentials are deleted with it.', label: 'Delete', kind: 'primary danger', fields: [check('force', 'Also while credentials are in force')],
    submit: async ({ force }) => {
      await call('DELETE', force ? `${path}?force=true` : path, undefined, { match: path });
      note(`${name} is deleted`);
      location.hash = '#/consumers';
    },
  });
  return [
    h('header.page', h('div', h('a.crumb', { href: '#/consumers' }, 'Consumers'), h('h1.break', name), h('p.sub.break', [it.title, it.contact].filter(Boolean).join(', '))),
      !state.readOnly && h('div.actions', act('Request a credential', () => request([it], definitions, name).then(done => done && context.again()), { kind: 'primary', key: 'request', disabled: !definitions.length }), act('Change', change, { key: 'change' }), act('Delete', erase, { kind: 'danger', key: 'delete' }))),
    h('section.card.flush', h('header', h('h2', 'Credentials')), table({
      id: 'its-credentials', label: `Credentials of ${name}`, rows: it.credentials, empty: 'It has no credential.',
      columns: [{ title: 'Name', of: row => row.name, cell: linkTo }, { title: 'Definition', of: row => row.definition }, { title: 'State', of: row => row.state, cell: stateOf }, { title: 'Ends', of: row => row.expires ?? '~', cell: ends }],
    })),
  ];
}

async function credential(context, name) {
  const path = credentials(name);
  const it = await get(path);
  const erase = () => confirm(`Delete the record of ${name}?`, 'Nothing is left of it then.', 'Delete', async () => {
    await call('DELETE', path, undefined, { match: path });
    location.hash = '#/consumers';
  });
  return [
    h('header.page', h('div', h('a.crumb', { href: `#/consumers/${part(it.consumer)}` }, it.consumer), h('h1.break', name), h('div.sub', stateOf(it), ', since ', time(it.since))),
      h('div.actions', buttons(it, () => context.again()), !state.readOnly && ['denied', 'revoked', 'expired', 'requested'].includes(it.state) && act('Delete', erase, { kind: 'danger', key: 'delete' }))),
    card('Credential', null, facts([
      ['Definition', it.definition], ['What it is for', it.description], ['Reason', it.reason], ['Requested', time(it.created)], ['Issued', it.issued && time(it.issued)], ['Ends', it.expires && ends(it)],
      ['Requested by', it.portal && 'the page for consumers'], ['API key', it.api_key && h('span', 'made ', time(it.api_key), '; only its SHA-256 is kept')], ['Request (CSR)', it.csr && 'given'], ['JavaScript origins', it.origins],
      ['Recognised by', it.names && `${it.names.issuer}, ${it.names.san}`],
    ])),
    it.certificates.length > 0 && card('Client certificates', null, it.certificates.map(one => h('div.stack', facts([
      ['Subject', one.subject], ['Ends', time(one.not_after)], ['From', one.from === 'issued' ? 'the definition’s CA' : 'the consumer'], ['Counts until', one.until && time(one.until)], ['SHA-256', h('span.mono', one.sha256)],
    ]), one.pem && h('div.row', act('Download PEM', async () => save(`${name}.pem`, one.pem)))))),
  ];
}

/** How often what is shown is read again, in milliseconds: credentials expire by themselves. */
const AGAIN = 5000;

export async function consumers(context) {
  const [first, second] = context.args;
  const drawn = Date.now();
  context.onUpdate(() => { if (Date.now() > drawn + AGAIN && !document.querySelector('dialog')) context.again(); });
  context.onStop(follow(kind => { if (kind === 'credential' && !document.querySelector('dialog')) context.again(); }));
  if (first === 'credential' && second) return credential(context, second);
  return first ? consumer(context, first) : list(context);
}
