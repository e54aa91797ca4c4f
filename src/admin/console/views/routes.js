// Routes and listeners: where requests come in, and where each of them goes.

import { act, h, note, notice, pill, put, region } from '../dom.js';
import { call, get, has, part } from '../api.js';
import { count } from '../format.js';
import { state } from '../state.js';
import { table } from '../table.js';

function listeners() {
  return table({
    id: 'listeners', label: 'Listeners', rows: state.status.listeners, empty: 'There is no listener.',
    columns: [
      { title: 'Name', of: row => row.name },
      { title: 'Addresses', of: row => row.addresses.join(), cell: row => h('span.mono.break', row.addresses.join(', ')) },
      { title: 'Protocol', of: row => row.protocol, cell: row => h('span', row.protocol, ' ', row.tls && pill('good', 'TLS')) },
      { title: 'Environment', of: row => row.environment ?? '', cell: row => row.environment ?? h('span.soft', 'default') },
      { title: 'PROXY header', of: row => row.proxy_protocol ?? 'off', cell: row => row.proxy_protocol ?? 'off' },
      { title: 'Datagrams', of: row => row.udp?.datagrams_up ?? 0, cell: row => row.udp ? `${count(row.udp.sessions_open)} sessions, ${count(row.udp.datagrams_up)} up, ${count(row.udp.datagrams_down)} down` : h('span.soft', '–') },
    ],
  });
}

function destination(route) {
  if (route.upstreams.length) return h('div.row', route.upstreams.map(name => h('a', { href: `#/upstreams/${part(name)}` }, name)));
  return route.respond ? `answers ${route.respond}` : h('span.soft', '–');
}

export async function routes(context) {
  const rows = await get('/v1/routes');
  const shown = region('div', () => state.status.listeners, listeners);
  context.onUpdate(shown.update);
  const plan = h('div');
  const buttons = has('POST /v1/reload') && h('div.actions',
    act('What would a reload change?', async () => put(plan, outcome(await call('POST', '/v1/plan', {}))), { key: 'plan' }),
    !state.readOnly && act('Reload the config', async () => {
      const done = await call('POST', '/v1/reload');
      note(`Version ${done.version} of the config runs`);
      context.again();
    }, { key: 'reload' }));
  return [
    h('header.page', h('div', h('h1', 'Routes and listeners'), h('p.sub', { title: state.status.config.file }, state.status.config.file.split('/').at(-1), `, version ${state.status.config.version}`)), buttons),
    plan,
    h('section.card.flush', h('header', h('h2', 'Routes')), table({
      id: 'routes', label: 'Routes', rows, empty: 'There is no route.',
      columns: [
        { title: 'Matches', of: row => row.matches, cell: row => h('span.mono.break', row.matches) },
        { title: 'Listeners', of: row => row.listeners.join(), cell: row => row.listeners.join(', ') },
        { title: 'Goes to', of: row => row.upstreams.join(), cell: destination },
      ],
    })),
    h('section.card.flush', h('header', h('h2', 'Listeners')), shown),
  ];
}

/** What a reload does, in words. */
function outcome(done) {
  const said = ['listeners', 'routes', 'upstreams', 'certificates'].flatMap(what => ['added', 'changed', 'removed']
    .filter(how => done[what][how].length).map(how => `${what} ${how}: ${done[what][how].join(', ')}`));
  const details = Object.entries(done.details).flatMap(([name, changes]) => changes.map(change => `${name}: ${change}`));
  const all = [...said, ...details, ...done.settings, ...done.needs_restart.map(it => `only after a restart: ${it}`)];
  return all.length ? notice('', h('ul.plain', all.map(line => h('li.break', line)))) : notice('good', 'A reload would change nothing.');
}
