// Routes and listeners: where requests come in, and where each of them goes.

import { act, h, note, pill, put, region } from '../dom.js';
import { call, get, has, part } from '../api.js';
import { count } from '../format.js';
import { state } from '../state.js';
import { table } from '../table.js';
import { addListener, addRoute, editKeys, outcome, registerApi, remove } from './register.js';

function listeners(again) {
  return table({
    id: 'listeners', label: 'Listeners', rows: state.status.listeners, empty: 'There is no listener.',
    columns: [
      { title: 'Name', of: row => row.name },
      { title: 'Addresses', of: row => row.addresses.join(), cell: row => h('span.mono.break', row.addresses.join(', ')) },
      { title: 'Protocol', of: row => row.protocol, cell: row => h('span', row.protocol, ' ', row.tls && pill('good', 'TLS')) },
      { title: 'Environment', of: row => row.environment ?? '', cell: row => row.environment ?? h('span.soft', 'default') },
      { title: 'PROXY header', of: row => row.proxy_protocol ?? 'off', cell: row => row.proxy_protocol ?? 'off' },
      { title: 'Datagrams', of: row => row.udp?.datagrams_up ?? 0, cell: row => row.udp ? `${count(row.udp.sessions_open)} sessions, ${count(row.udp.datagrams_up)} up, ${count(row.udp.datagrams_down)} down` : h('span.soft', '–') },
      ...changes('listeners', row => row.name, row => `the listener ${row.name}`, again),
    ],
  });
}

/** Buttons for a section of the config, where the server can change it. */
function changes(kind, idOf, titleOf, again) {
  if (state.readOnly || !has(`POST /v1/${kind}`)) return [];
  const path = row => `/v1/${kind}/${part(idOf(row))}`;
  return [{ title: '', cell: row => h('div.actions',
    act('Edit', () => editKeys(path(row), `Keys of ${titleOf(row)}`, again), { kind: 'quiet', key: `edit-${kind}-${idOf(row)}`, title: `Edit ${titleOf(row)}` }),
    act('Remove', async () => { await get(path(row)); await remove(path(row), titleOf(row), again); }, { kind: 'quiet danger', key: `remove-${kind}-${idOf(row)}`, title: `Remove ${titleOf(row)}` })) }];
}

function destination(route) {
  if (route.upstreams.length) return h('div.row', route.upstreams.map(name => h('a', { href: `#/upstreams/${part(name)}` }, name)));
  return route.respond ? `answers ${route.respond}` : h('span.soft', '–');
}

export async function routes(context) {
  const rows = await get('/v1/routes');
  const again = () => context.again();
  const shown = region('div', () => [state.status.listeners, state.readOnly], () => listeners(again));
  const adding = name => !state.readOnly && has(`POST /v1/${name}`);
  context.onUpdate(shown.update);
  const plan = h('div');
  const buttons = has('POST /v1/reload') && h('div.actions',
    adding('apis') && act('Register an API', registerApi, { kind: 'primary', key: 'register' }),
    act('What would a reload change?', async () => put(plan, outcome(await call('POST', '/v1/plan', {}))), { key: 'plan' }),
    !state.readOnly && act('Reload the config', async () => {
      const done = await call('POST', '/v1/reload');
      note(`Version ${done.version} of the config runs`);
      context.again();
    }, { key: 'reload' }));
  return [
    h('header.page', h('div', h('h1', 'Routes and listeners'), h('p.sub', { title: state.status.config.file }, state.status.config.file.split('/').at(-1), `, version ${state.status.config.version}`)), buttons),
    plan,
    h('section.card.flush', h('header', h('h2', 'Routes'), adding('routes') && act('Add a route', () => addRoute(again), { key: 'add-route' })), table({
      id: 'routes', label: 'Routes', rows, empty: 'There is no route.',
      columns: [
        { title: 'Matches', of: row => row.matches, cell: row => h('span.mono.break', row.matches) },
        { title: 'Listeners', of: row => row.listeners.join(), cell: row => row.listeners.join(', ') },
        { title: 'Goes to', of: row => row.upstreams.join(), cell: destination },
        ...changes('routes', row => row.id, row => `the route ${row.id}`, again),
      ],
    })),
    h('section.card.flush', h('header', h('h2', 'Listeners'), adding('listeners') && act('Add a listener', () => addListener(again), { key: 'add-listener' })), shown),
  ];
}
