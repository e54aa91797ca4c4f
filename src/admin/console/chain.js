// A backend's certificate: the check mark with its end, and the details of its chain.

import { facts, h, mark, pill, time } from './dom.js';
import { dayOf } from './format.js';

/** How near an end is worth a warning, in days. */
export const SOON = 30;

/** "valid until 3 May 2027", with a mark by how near that is. */
export function until(notAfter, daysLeft, kind = 'good') {
  const state = daysLeft < 0 ? 'bad' : daysLeft < SOON && kind === 'good' ? 'warn' : kind;
  const text = daysLeft < 0 ? 'ended ' : 'valid until ';
  return h('span.until', mark(state, text, h('span', { title: notAfter }, dayOf(new Date(notAfter)))));
}

/** The last report of a probe from this page, by upstream and endpoint. */
const reports = new Map();

export function remember(upstream, found) {
  for (const report of found) reports.set(`${upstream} ${report.address ?? report.endpoint}`, { ...report, at: new Date().toISOString() });
}

/** What is known of an endpoint's TLS: `{ state: 'good' | 'bad' | 'none', leaf, chain, at, text, … }`. */
export function known(upstream, endpoint) {
  const report = reports.get(`${upstream.name} ${endpoint.address ?? endpoint.endpoint}`);
  const { handshake, failure } = endpoint;
  const latest = [handshake?.at, failure?.at].filter(Boolean).sort().at(-1);
  if (report && (!latest || report.at > latest)) return ofReport(report);
  if (failure && (!handshake || failure.at > handshake.at)) {
    // The backend's certificate was good; it refused ours, or the lack of one.
    const refused = failure.reason === 'certificate_refused' && upstream.backend_tls.verified;
    return { state: refused ? 'good' : 'bad', refused, text: failure.text, remedy: failure.mend, at: failure.at, chain: failure.chain, ours: failure };
  }
  if (!handshake) return { state: 'none', chain: [] };
  return { state: upstream.backend_tls.verified ? 'good' : 'warn', at: handshake.at, chain: handshake.chain, ours: handshake, tls: handshake };
}

function ofReport(report) {
  const chain = report.chain.map(link => ({ ...link, names: link.sans, key: link.key_type }));
  const ours = { client_certificate: report.client_certificate.verdict, presented: report.identity };
  const tls = report.tls && { ...report.tls, server_name: report.server_name };
  if (!report.ok && report.tls?.verified && ours.client_certificate === 'refused') return { state: 'good', refused: true, text: report.problem, at: report.at, chain, ours, tls };
  if (!report.ok) return { state: 'bad', text: report.problem, at: report.at, chain, ours, tls };
  return { state: report.tls?.verified ? 'good' : 'warn', at: report.at, chain, ours, tls };
}

/** The mark of one endpoint, in a line. */
export function verdict(it) {
  const [leaf] = it.chain;
  if (it.state === 'none') return mark('none', 'not seen yet');
  if (it.state === 'bad') return mark('bad', it.text ?? 'the handshake failed');
  if (it.state === 'warn') return mark('warn', 'not verified', leaf ? `, ends ${dayOf(new Date(leaf.not_after))}` : '');
  const seen = leaf ? until(leaf.not_after, leaf.days_left) : mark('good', 'verified');
  return it.refused ? h('span', seen, ' ', mark('bad', 'it refuses our certificate, or the lack of one')) : seen;
}

const OURS = {
  not_asked: ['none', 'The backend does not ask for a certificate'],
  nothing_presented: ['warn', 'The backend asks for a certificate, none was presented'],
  asked_in_vain: ['warn', 'The backend asks for a certificate, none was presented'],
  presented: ['good', 'Presented'],
  accepted: ['good', 'Accepted'],
  refused: ['bad', 'Refused'],
};

/** What became of our certificate. */
export function ours(it) {
  const [kind, text] = OURS[it?.client_certificate] ?? ['none', 'not known yet'];
  return mark(kind, text, it?.presented && ['presented', 'accepted', 'refused'].includes(it.client_certificate) ? `: ${it.presented}` : '');
}

/** Everything that is known of it. */
export function details(it) {
  return h('div.stack',
    it.refused && h('p', it.text), it.remedy && h('p', it.remedy),
    facts([
      ['Seen', it.at && time(it.at)],
      ['Server name', it.tls?.server_name],
      ['Protocol', it.tls?.version && `${it.tls.version}, ${it.tls.cipher}${it.tls.key_exchange ? `, ${it.tls.key_exchange}` : ''}`],
      ['Our certificate', it.ours && ours(it.ours)],
      ['It trusts', it.ours?.authorities?.length ? it.ours.authorities : null],
    ]),
    chainOf(it.chain));
}

export function chainOf(chain) {
  if (!chain.length) return h('p.soft', 'No chain has been seen.');
  return h('ol.chain', chain.map((link, index) => h('li',
    h('div.row', h('strong.break', link.subject || '(no subject)'), pill('', index === 0 ? 'its own' : 'issuer')),
    facts([
      ['Valid', h('span', until(link.not_after, link.days_left), ' (', time(link.not_after), ')')],
      ['Issued by', link.issuer],
      ['Names', link.names],
      ['Key', link.key],
      ['Serial', link.serial],
      ['SHA-256', link.sha256 && h('span.mono', link.sha256)],
    ]))));
}
