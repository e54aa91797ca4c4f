// Certificates of the store: list, generate, bring, view, download, describe, delete.

import { call, get, has, part, send } from '../api.js';
import { until } from '../chain.js';
import { act, card, facts, h, mark, note, notice, pill, time } from '../dom.js';
import { several } from '../format.js';
import { ask, confirm, field } from '../form.js';
import { refresh, state } from '../state.js';
import { table } from '../table.js';
import { bring, generate } from './certificate_forms.js';

const uses = used => used.length ? h('ul.plain', used.map(it => h('li', it.by, it.role === 'server' ? ' presents it' : it.role === 'client' ? ' presents it to backends' : ' trusts it'))) : h('span.soft', 'nothing');

function stateOf(row) {
  if (row.problem) return mark('bad', row.problem);
  return h('div.row', row.staged !== null && row.staged !== undefined && pill('warn', `generation ${row.staged} staged`), row.requested && pill('warn', 'waits for the CA'),
    !row.has_key && row.active !== null && pill('', 'no key'), row.previous && pill('', `generation ${row.previous} kept`));
}

async function list(context) {
  const { certificates: rows } = await get('/v1/certificates');
  const made = name => {
    location.hash = `#/certificates/${part(name)}`;
    refresh();
  };
  const actions = !state.readOnly && h('div.actions',
    has('POST /v1/certificates/import') && act('Bring one', () => bring().then(name => name && made(name)), { key: 'bring' }),
    has('POST /v1/certificates') && act('Generate', () => generate(rows).then(name => name && made(name)), { kind: 'primary', key: 'generate' }));
  return [
    h('header.page', h('div', h('h1', 'Certificates'), h('p.sub', 'What Ringate presents, and what it trusts')), actions),
    h('section.card.flush', table({
      id: 'certificates', label: 'Certificates', rows, empty: 'The store is empty. Generate a certificate, or bring one.',
      columns: [
        { title: 'Name', of: row => row.name, cell: row => h('div', h('a', { href: `#/certificates/${part(row.name)}`, 'data-key': row.name }, row.name), row.description && h('div.soft.small.break', row.description)) },
        { title: 'Subject', of: row => row.subject, cell: row => h('span.break', row.subject ?? '') },
        { title: 'Ends', of: row => row.not_after ?? '~', cell: row => row.not_after ? h('div', until(row.not_after, row.days_left, row.ends_soon ? 'warn' : 'good'), h('div.soft.small', time(row.not_after))) : '' },
        { title: 'Key', of: row => row.key_type, cell: row => row.key_type ?? '' },
        { title: 'Used by', of: row => row.used_by.length, cell: row => uses(row.used_by) },
        { title: 'State', cell: stateOf },
      ],
    })),
  ];
}

/** Hands a text to the browser as a file. */
export function save(name, text, type = 'application/x-pem-file') {
  const url = URL.createObjectURL(new Blob([text], { type }));
  const link = h('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

const copy = text => act('Copy', async () => {
  await navigator.clipboard.writeText(text);
  note('Copied');
}, { key: 'copy' });

const STATES = { active: 'good', staged: 'warn', previous: 'none', retired: 'none' };

function generations(rows) {
  return table({
    id: 'generations', label: 'Generations', rows, empty: 'It has no generation yet.',
    columns: [
      { title: 'Generation', of: row => row.number },
      { title: 'State', of: row => row.state, cell: row => mark(STATES[row.state] ?? 'none', row.state) },
      { title: 'Ends', of: row => row.not_after, cell: row => until(row.not_after, row.days_left, row.state === 'active' ? 'good' : 'none') },
      { title: 'Made', of: row => row.created, cell: row => h('span', row.origin, ', ', time(row.created)) },
      { title: 'SHA-256', cell: row => h('span.mono.break', row.sha256) },
    ],
  });
}

async function one(context, name) {
  const path = `/v1/certificates/${part(name)}`;
  const it = await get(path);
  const active = it.generations.find(generation => generation.state === 'active');
  const changed = said => async () => {
    note(said);
    await refresh();
    context.again();
  };
  const describe = () => ask({
    title: `Describe ${name}`, label: 'Save', fields: [field('Description', h('textarea', { name: 'description', maxlength: 4096, value: it.description }), 'What it is for, and who is asked before it changes')],
    submit: ({ description }) => call('PATCH', path, { description }, { match: path }).then(changed('Described')),
  });
  const erase = () => confirm(`Delete ${name}?`, 'All its generations and keys are deleted. This cannot be undone.', 'Delete', async () => {
    await call('DELETE', path, undefined, { match: path });
    note(`${name} is deleted`);
    await refresh();
    location.hash = '#/certificates';
  });
  const download = query => async () => save(`${name}${query && '-' + query.slice(6)}.pem`, await (await send('GET', `${path}/pem${query}`)).text());
  const sub = active ? until(active.not_after, active.days_left) : 'not active yet';
  return [
    h('header.page', h('div', h('a.crumb', { href: '#/certificates' }, 'Certificates'), h('h1.break', name), h('div.sub', sub)),
      h('div.actions', active && act('Download PEM', download(''), { kind: 'primary', key: 'download' }),
        has('POST /v1/certificates/{name}/trial') && active && h('a.button', { href: `#/rotation/${part(name)}` }, 'Rotate'),
        !state.readOnly && [act('Describe', describe, { key: 'describe' }), act('Delete', erase, { kind: 'danger', key: 'delete' })])),
    it.description && h('p.break', it.description),
    it.request && card('It waits for a CA', h('div.row', act('Download the request', async () => save(`${name}.csr`, it.request.pem)), copy(it.request.pem)),
      notice('warn', 'Have the request signed, then bring the certificate under the same name: the key is here already.'), h('pre', it.request.pem)),
    h('div.grid', active && card('Active generation', null, facts([
      ['Subject', active.subject], ['Issued by', active.issuer], ['Names', active.sans], ['Key', active.key_type],
      ['Private key', active.has_key ? 'in the store; it never leaves it' : 'none: it can be trusted, not presented'],
      ['Valid from', active.not_before && time(active.not_before)], ['Ends', time(active.not_after)],
      ['Chain', active.chain_length && several(active.chain_length, 'certificate')], ['SHA-256', h('span.mono', active.sha256)], ['Key’s SHA-256', active.spki_sha256 && h('span.mono', active.spki_sha256)],
    ])), card('Used by', null, uses(it.used_by))),
    it.pem && card('Public part', [copy(it.pem)], h('pre', { tabindex: 0, 'aria-label': 'The certificate as PEM' }, it.pem)),
    h('section.card.flush', h('header', h('h2', 'Generations')), generations(it.generations)),
  ];
}

export async function certificates(context) {
  const [name] = context.args;
  return name ? one(context, name) : list(context);
}
