// Registering: an API with its backend, a route, a listener; and the keys of each as the config file has them.

import { call, get, has, part } from '../api.js';
import { remember } from '../chain.js';
import { act, h, note, notice, put } from '../dom.js';
import { ask, check, confirm, field, input, select } from '../form.js';
import { environments, refresh, state } from '../state.js';
import { stored, trustFields, trustOf } from './upstream_tls.js';

const NAME = '[A-Za-z0-9][A-Za-z0-9._\\-]*';
const words = text => text.split(',').map(word => word.trim()).filter(Boolean);
const listeners = more => field('Listener', select('listener', state.status.listeners.map(it => it.name)), more);

/** What a change does, in words: an Outcome of the API. */
export function outcome(done) {
  const said = ['listeners', 'routes', 'upstreams', 'certificates'].flatMap(what => ['added', 'changed', 'removed']
    .filter(how => done[what][how].length).map(how => `${what} ${how}: ${done[what][how].join(', ')}`));
  const details = Object.entries(done.details).flatMap(([name, changes]) => changes.map(change => `${name}: ${change}`));
  const all = [...said, ...details, ...done.settings, ...done.needs_restart.map(it => `only after a restart: ${it}`), ...done.warnings.map(it => `line ${it.line}: ${it.message}`)];
  return all.length ? notice('', h('ul.plain', all.map(line => h('li.break', line)))) : notice('good', 'Nothing would change.');
}

/** A change that a backend's refusal may stand against: `path` with `?force=true` where that is wished. */
export async function forced(method, path, body, force, options) {
  try { return await call(method, force ? `${path}?force=true` : path, body, options); } catch (problem) {
    if (problem.kind?.endsWith('/trial')) problem.message += ' (Or tick “although a backend is not verified”.)';
    throw problem;
  }
}

export const force = () => check('force', 'Do it although a backend is not verified');

/** Registers an API: its backend is reached and verified before anything is written. */
export async function registerApi() {
  const certificates = await stored();
  return ask({
    title: 'Register an API', label: 'Register', text: 'The backend is reached and its certificate verified; then the upstream and its route are written into the config file, and in force at once.',
    fields: [
      h('div.fields', field('Name', input('name', { required: true, pattern: NAME, placeholder: 'orders' })), field('Backend', input('backends', { required: true, placeholder: 'https://orders.internal:8443' }), 'Several, separated by commas, share the traffic')),
      h('div.fields', listeners(), field('Host', input('host', { placeholder: 'any' })), field('Path', input('path', { placeholder: '/orders' }), 'Requests below it')),
      h('fieldset', h('legend', 'Trust, for https'), trustFields(certificates, ['system']), field('Server name', input('server_name', { placeholder: 'the host of the backend' }), 'SNI, and the name that is verified')),
      force(),
    ],
    submit: async given => {
      const https = given.backends.trim().startsWith('https:');
      const tls = https && { trust: await trustOf(given, []), ...(given.server_name && { server_name: given.server_name }) };
      const route = { listener: given.listener, ...(given.host && { host: given.host }), ...(given.path && { path: given.path }) };
      const made = await forced('POST', '/v1/apis', { name: given.name, backends: words(given.backends), upstream: tls ? { tls } : {}, routes: [route] }, given.force);
      remember(given.name, made.endpoints);
      note(`${given.name} is registered`);
      await refresh();
      location.hash = `#/upstreams/${part(given.name)}`;
      return given.name;
    },
  });
}

export const addRoute = again => ask({
  title: 'Add a route', label: 'Add', text: 'It stands behind the others; the most specific one wins.',
  fields: [
    h('div.fields', listeners(), field('Host', input('host', { placeholder: 'any' })), field('Path', input('path', { placeholder: '/orders' }))),
    field('Goes to', select('upstream', state.status.upstreams.filter(it => !it.environment).map(it => it.name))),
  ],
  submit: async given => {
    await call('POST', '/v1/routes', { listener: given.listener, upstream: given.upstream, ...(given.host && { host: given.host }), ...(given.path && { path: given.path }) });
    note('The route is added');
    await refresh();
    again();
  },
});

export const addListener = again => ask({
  title: 'Add a listener', label: 'Add',
  fields: [
    h('div.fields', field('Name', input('name', { required: true, pattern: NAME })), field('Address', input('address', { required: true, placeholder: '0.0.0.0:8080' })), field('Protocol', select('protocol', ['http', 'tcp', 'udp']))),
    h('div.fields', field('Environment', input('environment', { placeholder: environments()[0] ?? 'default' })), field('First route goes to', select('upstream', state.status.upstreams.filter(it => !it.environment).map(it => it.name)))),
  ],
  submit: async given => {
    const { name, address, protocol, environment, upstream } = given;
    await call('POST', '/v1/listeners', { name, address, protocol, ...(environment && { environment }), routes: [{ upstream }] });
    note(`${name} listens on ${address}`);
    await refresh();
    again();
  },
});

/** `query`: how it is asked for, beyond the path. */
export const remove = (path, name, again, query = '') => confirm(`Remove ${name}?`, 'It is taken out of the config file, and no longer in force.', 'Remove', async () => {
  await call('DELETE', path + query, undefined, { match: path });
  note(`${name} is removed`);
  await refresh();
  again();
});

const isTable = value => value !== null && typeof value === 'object' && !Array.isArray(value);

/** What makes `after` of `before`, as JSON that is merged (RFC 7396). */
export function difference(before, after) {
  const changes = {};
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (!(key in after)) changes[key] = null;
    else if (isTable(before[key]) && isTable(after[key])) {
      const inner = difference(before[key], after[key]);
      if (Object.keys(inner).length) changes[key] = inner;
    } else if (JSON.stringify(before[key]) !== JSON.stringify(after[key])) changes[key] = after[key];
  }
  return changes;
}

/** Shows the keys of a section as JSON, to be edited; what differs is planned or applied. */
export async function editKeys(path, title, again) {
  const { config } = await get(path);
  const plan = h('div');
  const read = text => {
    let wanted;
    try { wanted = JSON.parse(text); } catch (error) { throw new Error(`This is no JSON: ${error.message}`); }
    return difference(config, wanted);
  };
  const text = h('textarea', { name: 'keys', spellcheck: 'false', value: JSON.stringify(config, null, 2), rows: 16 });
  const planned = has('POST /v1/routes') && act('What would change?', async () => put(plan, outcome(await call('PATCH', `${path}?dry_run=true`, read(text.value), { match: path }))));
  await ask({
    title, label: 'Apply', text: 'The keys as in the config file. What differs is written there, its comments kept, and applied at once.',
    fields: [field('Keys', text, 'Values that are secret are masked; they stay as they are unless you change them'), planned && h('div.row', planned), plan, force()],
    submit: async given => {
      const changes = read(given.keys);
      if (!Object.keys(changes).length) throw new Error('Nothing differs.');
      await forced('PATCH', path, changes, given.force, { match: path });
      note('Applied');
      await refresh();
      again();
    },
  });
}
