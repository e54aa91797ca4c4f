// Overview: what there is to do, the traffic of the last minutes, and the health of backends.

import { known } from '../chain.js';
import { has } from '../api.js';
import { card, h, mark, pill, region, time } from '../dom.js';
import { count, milliseconds, several } from '../format.js';
import { plot } from '../plot.js';
import { state } from '../state.js';

/** What needs attention: `{ kind, text, place }`, worst first. */
export function attention(status) {
  if (!status) return [];
  const found = [];
  const add = (kind, text, place) => found.push({ kind, text, place });
  if (status.draining) add('warn', 'Ringate drains: it finishes what is under way, and ends.');
  if (status.config.last_refused) add('bad', `The last config was refused: ${status.config.last_refused.reason}`);
  status.workers.filter(worker => worker.stuck).forEach(worker => add('bad', `The worker on CPU ${worker.cpu} makes no progress.`, 'workers'));
  for (const upstream of status.upstreams) ofUpstream(upstream, add);
  status.warnings.forEach(warning => add('warn', warning, /^(\d+ more )?credential/.test(warning) ? 'consumers' : 'certificates'));
  for (const { name, rotation } of status.certificates) {
    const safe = rotation.safe_to_revoke;
    if (safe?.safe) add('none', `${name}: generation ${safe.generation} is safe to revoke, and may be retired.`, `rotation/${encodeURIComponent(name)}`);
  }
  const order = { bad: 0, warn: 1, none: 2 };
  return found.sort((one, other) => order[one.kind] - order[other.kind]);
}

function ofUpstream(upstream, add) {
  const place = `upstreams/${encodeURIComponent(upstream.name.split('@')[0])}`;
  const away = upstream.addresses.filter(it => ['down', 'ejected'].includes(it.state));
  if (away.length) {
    const all = away.length === upstream.addresses.length;
    add(all ? 'bad' : 'warn', `${upstream.name}: ${all ? 'no endpoint can be used' : `${several(away.length, 'endpoint')} of ${upstream.addresses.length} can’t be used`} (${away[0].endpoint}: ${away[0].reason ?? away[0].state}).`, place);
  }
  if (upstream.backend_tls && !upstream.backend_tls.verified) add('warn', `${upstream.name}: the backend’s certificate is not verified (insecure_skip_verify).`, place);
  const failed = (upstream.backend_tls?.endpoints ?? []).map(endpoint => known(upstream, endpoint)).filter(it => it.state === 'bad' || it.refused);
  if (failed.length) add('bad', `${upstream.name}: ${failed[0].text}`, place);
}

/** The figures on top. */
function tiles() {
  const { status, samples } = state;
  const last = samples.at(-1);
  const shown = value => last ? count(Math.round(value * 10) / 10) : '–';
  const failed = last && last.requests > 0 ? `${count(100 * last.failed / Math.max(last.requests, last.failed))} %` : last ? '0 %' : '–';
  const addresses = status.upstreams.filter(it => !it.environment).flatMap(it => it.addresses);
  const away = addresses.filter(it => ['down', 'ejected'].includes(it.state)).length;
  const tile = (name, value, small) => h('div.tile', h('dt', name), h('dd', value, small && h('small', ' ', small)));
  return h('dl.tiles',
    tile('Requests', shown(last?.requests), 'a second'),
    tile('Server errors', failed, last ? `${shown(last.failed)} a second` : ''),
    last?.p99 !== undefined && tile('Latency, 99 %', last.p99 === null ? '–' : milliseconds(last.p99), last.p50 === null ? '' : `half within ${milliseconds(last.p50)}`),
    tile('Client connections', count(status.totals.connections_open)),
    tile('Endpoints usable', `${addresses.length - away}`, `of ${addresses.length}`),
    tile('Requests so far', count(status.totals.requests)));
}

function health(upstreams) {
  return h('ul.attention', upstreams.map(upstream => {
    const away = upstream.addresses.filter(it => ['down', 'ejected'].includes(it.state)).length;
    const fresh = upstream.addresses.every(it => it.state === 'unknown');
    const kind = away === 0 ? (fresh ? 'none' : 'good') : away === upstream.addresses.length ? 'bad' : 'warn';
    const text = fresh ? 'not used yet' : away === 0 ? 'usable' : `${away} of ${upstream.addresses.length} not usable`;
    return h('li', mark(kind, h('a', { href: `#/upstreams/${encodeURIComponent(upstream.name.split('@')[0])}` }, upstream.name)),
      h('span.soft.small', `${several(upstream.addresses.length, 'endpoint')}, ${text}`),
      upstream.tls && pill('', upstream.client_certificate ? 'mutual TLS' : 'TLS'));
  }));
}

export function overview(context) {
  const todo = region('div', () => attention(state.status), found => found.length
    ? h('ul.attention', found.map(({ kind, text, place }) => h('li', mark(kind, h('span.break', text)), place && h('a.small', { href: `#/${place}` }, 'Open'))))
    : mark('good', 'Nothing needs attention.'));
  const top = region('div', () => [state.samples.at(-1), state.status.totals.requests, state.status.upstreams.map(it => it.addresses.map(one => one.state))], tiles);
  const backends = region('div', () => state.status.upstreams.map(({ name, addresses, tls, client_certificate }) =>
    ({ name, tls, client_certificate, addresses: addresses.map(it => ({ state: it.state })) })),
  shown => shown.length ? health(shown) : h('p.soft', 'There is no upstream yet.'));
  const samples = () => state.samples;
  const latency = has('GET /v1/events') && plot('Latency', [{ name: '50 %', of: it => it.p50 ?? 0 }, { name: '99 %', of: it => it.p99 ?? 0 }], samples, milliseconds);
  const plots = [
    plot('Requests a second', [{ name: 'all', of: it => it.requests }], samples),
    plot('Errors a second', [{ name: '4xx', of: it => it.refused }, { name: '5xx', of: it => it.failed }], samples),
    plot('Client connections', [{ name: 'open', of: it => it.connections }], samples),
    plot('Handshakes and backend connections a second', [{ name: 'TLS handshakes', of: it => it.handshakes }, { name: 'new connections', of: it => it.backends }], samples),
  ].toSpliced(1, 0, latency || []).flat();
  const news = has('GET /v1/events') && region('div', () => state.events.slice(0, 12), shown => shown.length
    ? h('ul.attention', shown.map(event => h('li', h('span.small', time(event.at)), h('span.break', words(event)))))
    : h('p.soft', 'Nothing has happened while this page was open.'));
  for (const part of [todo, top, backends, news, ...plots].filter(Boolean)) context.onUpdate(() => part.update());
  return [
    h('header.page', h('div', h('h1', 'Overview'), h('p.sub', { title: state.status.config.file }, state.status.config.file.split('/').at(-1), `, version ${state.status.config.version}`))),
    top,
    h('div.grid', card('Needs attention', null, todo), card('Upstreams', null, backends)),
    h('div.grid.plots', plots.map(one => h('section.card', one))),
    news && card('What happened', null, news),
  ];
}

/** An event in words. */
function words(event) {
  if (event.kind === 'health') return `${event.upstream}: ${event.endpoint} is ${event.state}${event.was ? `, it was ${event.was}` : ''}${event.reason ? `: ${event.reason}` : ''}`;
  if (event.kind === 'config') return `The config was ${event.outcome} (${event.by})${event.detail ? `: ${event.detail}` : ''}`;
  if (event.kind === 'certificate') return `${event.certificate}: ${event.change.replaceAll('_', ' ')}${event.generation ? ` (generation ${event.generation})` : ''}`;
  const { kind, at, ...rest } = event;
  return `${kind}: ${Object.entries(rest).filter(([, value]) => typeof value !== 'object').map(([name, value]) => `${name} ${value}`).join(', ')}`;
}
