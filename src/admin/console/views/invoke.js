// Test invoke: one request to a backend, with a certificate of choice, and all of its answer.

import { call, get, has } from '../api.js';
import { chainOf, ours } from '../chain.js';
import { act, card, facts, h, mark, notice, pill, put } from '../dom.js';
import { milliseconds } from '../format.js';
import { field, input, select, values } from '../form.js';
import { environments, state } from '../state.js';
import { table } from '../table.js';
import { stored } from './upstream_tls.js';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'];

/** Fields as they are written: a line each. */
function fieldsOf(text) {
  const lines = text.split('\n').map(line => line.trim()).filter(Boolean);
  return Object.fromEntries(lines.map(line => {
    const at = line.indexOf(':');
    if (at < 1) throw new Error(`“${line}” is no field: write NAME: VALUE.`);
    return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
  }));
}

function bodyOf(response) {
  if (!response.body) return h('p.soft', 'No content.');
  const note = [response.body_is_base64 && 'not text, shown in base64', response.truncated && 'only its beginning'].filter(Boolean).join(', ');
  return [h('pre', { tabindex: 0, 'aria-label': 'Content of the response' }, response.body), note && h('p.soft.small', note)];
}

function found(it) {
  const { response } = it;
  const kind = response ? (response.status < 400 ? 'good' : response.status < 500 ? 'warn' : 'bad') : 'bad';
  const headers = response && (Array.isArray(response.headers) ? response.headers.map(one => Array.isArray(one) ? one : [one.name, one.value]) : Object.entries(response.headers));
  return [
    card('Response', pill('', milliseconds(it.milliseconds)),
      response ? h('p', mark(kind, `${response.status} ${response.reason ?? ''}`)) : notice('bad', it.problem ?? 'There is no response.'),
      response && it.problem && notice('warn', it.problem),
      response && [table({ id: 'invoke-headers', label: 'Header fields', rows: headers, columns: [{ title: 'Field', of: row => row[0], cell: row => h('span.mono.break', row[0]) }, { title: 'Value', of: row => row[1], cell: row => h('span.mono.break', row[1]) }] }), bodyOf(response)]),
    card('Connection', null, facts([
      ['Endpoint', it.address ?? it.endpoint],
      ['Protocol', it.tls ? `${it.tls.version}, ${it.tls.cipher}${it.tls.key_exchange ? `, ${it.tls.key_exchange}` : ''}` : 'plain, no TLS'],
      ['Server name', it.server_name],
      ['Verified', it.tls && (it.tls.verified ? mark('good', 'yes') : mark('warn', 'no'))],
      ['Our certificate', it.client_certificate && ours({ client_certificate: it.client_certificate.verdict, presented: it.identity })],
    ]), it.chain?.length > 0 && chainOf(it.chain.map(link => ({ ...link, names: link.sans, key: link.key_type })))),
  ];
}

export async function invoke() {
  const [routes, certificates] = await Promise.all([get('/v1/routes'), has('GET /v1/certificates') ? stored() : []]);
  const targets = [...routes.filter(it => it.id && it.upstreams.length).map(it => [`route:${it.id}`, `Route ${it.matches}`]),
    ...state.status.upstreams.filter(it => !it.environment).map(it => [`upstream:${it.name}`, `Upstream ${it.name}`])];
  const usable = certificates.filter(it => it.has_key && it.active !== null);
  const answer = h('div.stack', { 'aria-live': 'polite' });
  const send = async () => {
    const given = values(form);
    const at = given.target.indexOf(':');
    const body = { [given.target.slice(0, at)]: given.target.slice(at + 1), method: given.method, };
    if (given.path) body.path = given.path;
    for (const name of ['environment', 'certificate', 'host', 'body']) if (given[name]) body[name] = given[name];
    const headers = fieldsOf(given.headers);
    if (Object.keys(headers).length) body.headers = headers;
    put(answer, h('progress', { 'aria-label': 'Request' }));
    try { put(answer, found(await call('POST', '/v1/invoke', body))); } catch (problem) { put(answer, notice('bad', problem.message)); }
  };
  const button = act('Send', send, { kind: 'primary', key: 'send' });
  const form = h('form.stack', { submit: event => { event.preventDefault(); button.click(); } },
    h('div.fields', field('To', select('target', targets)), field('Environment', select('environment', [['', 'default'], ...environments()])), field('Certificate', select('certificate', [['', 'that of the upstream'], ...usable.map(it => [it.name, it.name])]))),
    h('div.fields', field('Method', select('method', METHODS)), field('Path', input('path', { placeholder: 'the route’s, or /' }), 'With its query: of a route as a client sends it, of an upstream as the backend gets it'), field('Host', input('host', { placeholder: 'the endpoint’s' }))),
    h('details', h('summary', 'Header fields and content'), h('div.fields', field('Header fields', h('textarea', { name: 'headers', spellcheck: 'false', placeholder: 'Accept: application/json' }), 'One in a line'), field('Content', h('textarea', { name: 'body', spellcheck: 'false' })))),
    h('div.actions', button));
  return [
    h('header.page', h('div', h('h1', 'Test invoke'), h('p.sub', 'A request to a backend over the upstream’s TLS: by a route rewritten and with its header rules, straight to an upstream as it is. No credentials are needed.'))),
    state.readOnly ? notice('', 'A request may change something at the backend: read-only mode sends none.') : h('section.card', form), answer,
  ];
}
