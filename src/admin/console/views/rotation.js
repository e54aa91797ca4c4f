// Rotation: stage the next generation, try it at every backend, activate it, wait until the old one may be revoked.

import { call, get, part } from '../api.js';
import { ours, until } from '../chain.js';
import { act, h, mark, note, notice, pill, put, time } from '../dom.js';
import { several } from '../format.js';
import { ask, check, confirm } from '../form.js';
import { follow, refresh, state } from '../state.js';
import { table } from '../table.js';
import { brought, options, pieces, wanted } from './certificate_forms.js';

const numbered = value => value === null || value === undefined ? '–' : `#${value}`;

async function list() {
  const { certificates } = await get('/v1/certificates');
  const rows = certificates.filter(it => it.has_key);
  return [
    h('header.page', h('div', h('h1', 'Rotation'), h('p.sub', 'From one generation of a certificate to the next, without a lost request'))),
    h('section.card.flush', table({
      id: 'rotations', label: 'Certificates with a key', rows, empty: 'The store has no certificate with a key.',
      columns: [
        { title: 'Certificate', of: row => row.name, cell: row => h('a', { href: `#/rotation/${part(row.name)}`, 'data-key': row.name }, row.name) },
        { title: 'Active', of: row => row.active ?? 0, cell: row => numbered(row.active) },
        { title: 'Staged', of: row => row.staged ?? 0, cell: row => numbered(row.staged) },
        { title: 'Previous', of: row => row.previous ?? 0, cell: row => numbered(row.previous) },
        { title: 'Ends', of: row => row.not_after ?? '', cell: row => row.not_after ? until(row.not_after, row.days_left, row.ends_soon ? 'warn' : 'good') : '' },
        { title: 'Used by', of: row => row.used_by.length, cell: row => several(row.used_by.length, 'place') },
      ],
    })),
  ];
}

const OUTCOMES = { accepted: ['good', 'accepts it'], refused: ['bad', 'refuses it'], unreachable: ['bad', 'can’t be reached'], never_asked: ['warn', 'does not ask for one'], failed: ['bad', 'the handshake failed'] };

/** What each endpoint thought, as it arrives. */
function answers(reports, waited) {
  return h('div.stack', table({
    id: 'trial', label: 'Answers of the endpoints', empty: waited ? 'The endpoints are asked …' : 'No endpoint was asked.', rows: reports,
    columns: [
      { title: 'Upstream', of: row => row.upstream },
      { title: 'Endpoint', of: row => row.address ?? row.endpoint, cell: row => h('span.mono.break', row.address ?? row.endpoint) },
      { title: 'Answer', of: row => row.outcome, cell: row => h('div', mark(...OUTCOMES[row.outcome] ?? ['none', row.outcome]), (row.problem || row.client_certificate?.reason) && h('div.soft.small.break', row.client_certificate?.reason ?? row.problem)) },
      { title: 'Presented', cell: row => ours({ client_certificate: row.client_certificate.verdict, presented: row.identity }) },
      { title: 'Took', of: row => row.milliseconds, cell: row => `${row.milliseconds} ms`, number: true },
    ],
  }));
}

/** The trial of this page by certificate, so that its answers stay when the view is drawn again. */
const trials = new Map();

async function tryIt(name, target) {
  const reports = [];
  let bound = state.status.upstreams.filter(it => it.client_certificate === name).reduce((sum, it) => sum + it.addresses.length, 0);
  const show = () => put(target, h('p.soft', { role: 'status' }, `${reports.length} of ${several(bound, 'endpoint')} answered`), h('progress', { 'aria-label': 'Trial', max: bound || 1, value: reports.length }), answers(reports, true));
  show();
  const end = follow((kind, event) => {
    if (kind !== 'certificate' || event.certificate !== name) return;
    if (event.change === 'trial_begun') bound = event.endpoints;
    if (event.change === 'tried') reports.push(event.answer);
    show();
  });
  try { return await call('POST', `/v1/certificates/${part(name)}/trial`); } finally { end(); }
}

const stage = (name, context) => ask({
  title: `The next generation of ${name}`, label: 'Stage', text: 'It is kept beside the active one, and used by nothing yet.',
  fields: [
    h('fieldset', h('legend', 'Where it is from'),
      [['same', 'Generate it with the same subject, names and key type'], ['other', 'Generate it with other options'], ['bring', 'Bring it']].map(([value, text]) => h('label.check', h('input', { type: 'radio', name: 'from', value, checked: value === 'same', change: event => turn(event.target.form) }), text))),
    h('div.stack', { 'data-of': 'other', hidden: true }, options([])),
    h('div.stack', { 'data-of': 'bring', hidden: true }, brought()),
  ],
  opened: turn,
  submit: async given => {
    const keys = given.from === 'bring' ? await pieces(given) : { generate: given.from === 'other' ? wanted(given) : null };
    const made = await call('POST', `/v1/certificates/${part(name)}/stage`, keys, { match: `/v1/certificates/${part(name)}` });
    trials.delete(name);
    note(`Generation ${made.generation} of ${name} is staged`);
    await refresh();
    context.again();
  },
});

/** Shows the fields of what is chosen, and asks for no others. */
function turn(form) {
  for (const part of form.querySelectorAll('[data-of]')) {
    part.hidden = part.dataset.of !== form.elements.from.value;
    for (const control of part.querySelectorAll('input, select, textarea')) control.disabled = part.hidden;
  }
}

function usesOf(rotation) {
  return table({
    id: 'uses', label: 'Where the generations are used', rows: rotation?.uses ?? [], empty: 'No connection has presented it since the start.',
    columns: [
      { title: 'Generation', of: row => row.generation, cell: row => h('span', `#${row.generation} `, row.generation === rotation.active && pill('good', 'active')) },
      { title: 'Upstream', of: row => row.upstream },
      { title: 'Endpoint', of: row => row.endpoint, cell: row => h('span.mono.break', row.endpoint) },
      { title: 'Connections', of: row => row.connections, number: true },
      { title: 'Accepted', of: row => row.accepted ?? '', cell: row => time(row.accepted) },
      { title: 'Refusals', of: row => row.refusals, cell: row => row.refusals ? mark('bad', row.refusals, row.refused && h('span.soft.small', ' ', time(row.refused))) : '0', number: true },
    ],
  });
}

function safety(rotation) {
  const safe = rotation?.safe_to_revoke;
  if (!safe) return h('p.soft', 'Nothing has been replaced while this process ran.');
  if (safe.safe) return mark('good', `Generation ${safe.generation} is safe to revoke: nothing uses it, and every endpoint takes the active one.`);
  return h('div.stack', mark('warn', `Generation ${safe.generation} is still needed.`), h('ul.plain', safe.reasons.map(reason => h('li.break', reason))),
    safe.grace_until && h('p.soft', 'Its last connections are ended ', time(safe.grace_until)));
}

async function one(context, name) {
  const path = `/v1/certificates/${part(name)}`;
  const it = await get(path);
  const rotation = await get(`${path}/rotation`);
  const number = value => it.generations.find(generation => generation.number === value);
  const changeable = !state.readOnly;
  const did = (call, said) => async () => {
    const done = await call();
    note(said(done));
    await refresh();
    await context.again();
  };
  const target = h('div', trials.has(name) ? answers(trials.get(name).endpoints) : it.trial && h('p', mark(it.trial.passed ? 'good' : 'bad', `Generation ${it.trial.generation} ${it.trial.passed ? 'passed' : 'did not pass'} its trial `), time(it.trial.at)));
  const trial = act('Try it', async () => {
    const done = await tryIt(name, target);
    trials.set(name, done);
    for (const warning of done.warnings ?? []) note(warning, 'bad');
    note(done.passed ? 'Every endpoint takes it' : done.endpoints.length ? 'Not every endpoint takes it' : 'No endpoint is bound to it: there was nothing to try', done.passed ? 'good' : 'bad');
    await context.again();
  }, { kind: it.staged && !passed(it) ? 'primary' : '', key: 'trial', disabled: !it.staged });
  const activate = act('Activate', () => passed(it) ? did(() => call('POST', `${path}/activate`, {}, { match: path }), done => `Generation ${done.generation} is active`)() : force(), { kind: passed(it) ? 'primary' : '', key: 'activate', disabled: !it.staged });
  const force = () => ask({
    title: `Activate generation ${it.staged} without a passed trial?`, label: 'Activate', kind: 'primary danger', text: 'Backends that refuse it are served with the previous generation where that is valid.',
    fields: [check('force', 'Activate it all the same')],
    submit: given => did(() => call('POST', `${path}/activate`, given.force ? { force: true } : {}, { match: path }), done => `Generation ${done.generation} is active`)(),
  });
  const back = act('Roll back', () => confirm('Roll back?', `Generation ${it.previous} is presented again from now on.`, 'Roll back', did(() => call('POST', `${path}/rollback`, {}, { match: path }), done => `Generation ${done.generation} is active again`)), { key: 'rollback', kind: 'danger', disabled: !it.previous });
  const retire = act('Retire', () => confirm(`Retire generation ${it.previous}?`, 'Its key is deleted, so that it can’t come back.', 'Retire', did(() => call('POST', `${path}/retire`, {}, { match: path }), done => `Generation ${done.retired} is retired`)), { key: 'retire', disabled: !it.previous, kind: rotation?.safe_to_revoke?.safe && it.previous ? 'primary' : '' });
  const safe = h('div', safety(rotation));
  const uses = h('div', usesOf(rotation));
  let asked = false;
  context.onUpdate(async () => {
    if (asked) return;
    asked = true;
    const now = await get(`${path}/rotation`).catch(() => null);
    asked = false;
    if (JSON.stringify(now) === safe.dataset.last) return;
    safe.dataset.last = JSON.stringify(now);
    put(safe, safety(now));
    put(uses, usesOf(now));
    if (now?.safe_to_revoke?.safe && it.previous && !retire.classList.contains('primary')) retire.classList.add('primary');
  });
  const step = (kind, title, buttons, ...content) => h(`li.${kind}`, { 'aria-current': kind === 'now' ? 'step' : undefined }, h('div.stack', h('h2', title), content, changeable && buttons && h('div.actions', buttons)));
  const at = it.staged ? (passed(it) ? 2 : 1) : it.previous ? 3 : 0;
  const kind = index => index < at ? 'done' : index === at ? 'now' : 'todo';
  return [
    h('header.page', h('div', h('a.crumb', { href: '#/rotation' }, 'Rotation'), h('h1.break', name), h('p.sub', `Active: ${numbered(it.active)}, staged: ${numbered(it.staged)}, previous: ${numbered(it.previous)}`)),
      h('div.actions', h('a.button', { href: `#/certificates/${part(name)}` }, 'The certificate'), changeable && back)),
    h('section.card', h('ol.steps',
      step(kind(0), 'Stage', act(it.staged ? 'Stage another one' : 'Stage the next generation', () => stage(name, context), { kind: at === 0 ? 'primary' : '', key: 'stage' }),
        it.staged ? h('p', `Generation ${it.staged} is staged: `, until(number(it.staged).not_after, number(it.staged).days_left)) : h('p.soft', 'The next generation is made or brought, and used by nothing yet.')),
      step(kind(1), 'Trial', trial, h('p.soft', 'A handshake with every endpoint, with the staged generation: does the backend take it?'), target),
      step(kind(2), 'Activate', activate, h('p.soft', 'New connections present it from then on, on every worker at once. No request is lost.')),
      step(kind(3), 'Safe to revoke', null, safe),
      step('todo', 'Retire', retire, h('p.soft', it.previous ? `Deletes the key of generation ${it.previous}; then revoke its certificate at the backends.` : 'There is no previous generation.')))),
    h('section.card.flush', h('header', h('h2', 'Uses')), uses),
    !rotation && notice('', 'Nothing that runs presents this certificate: associate it with an upstream under “Mutual TLS” first.'),
  ];
}

const passed = it => Boolean(it.staged && it.trial?.passed && it.trial.generation === it.staged);

export async function rotation(context) {
  const [name] = context.args;
  return name ? one(context, name) : list();
}
