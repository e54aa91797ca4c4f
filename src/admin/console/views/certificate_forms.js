// Forms that make a certificate: generate a key pair, or bring one from elsewhere. Rotation uses the same fields.

import { call } from '../api.js';
import { h, note, notice } from '../dom.js';
import { ask, check, contents, field, input, select } from '../form.js';

const KEYS = [['ecdsa-p256', 'ECDSA P-256'], ['ecdsa-p384', 'ECDSA P-384'], ['rsa-2048', 'RSA 2048'], ['rsa-3072', 'RSA 3072'], ['rsa-4096', 'RSA 4096'], ['ed25519', 'Ed25519']];
const USES = [['client', 'Presented to backends (clientAuth)'], ['server', 'Presented to clients (serverAuth)'], ['both', 'Both'], ['any', 'Not restricted']];

/** The fields of a certificate that is generated; `issuers`: names of CAs that may sign. */
export function options(issuers, cn = '') {
  return [
    field('Common name', input('common_name', { required: true, maxlength: 64, placeholder: 'gateway.example', value: cn })),
    h('details', h('summary', 'Advanced options'), h('div.stack',
      h('div.fields', field('Organization', input('organization')), field('Organizational unit', input('organizational_unit')), field('Country', input('country', { pattern: '[A-Za-z]{2}', maxlength: 2, placeholder: 'DE' })),
        field('State', input('state')), field('Locality', input('locality')), field('Serial number of the subject', input('serial_number'))),
      field('Subject alternative names', input('sans', { placeholder: 'DNS:gateway.example, IP:192.0.2.1' }), 'Separated by commas'),
      h('div.fields', field('Valid for', input('days', { type: 'number', min: 1, max: 36500, placeholder: '365' }), 'Days'), field('Key', select('key_type', KEYS, 'ecdsa-p256')), field('Use', select('usage', USES, 'client'))),
      field('Signed by', select('issuer', [['', 'Itself'], ...issuers.map(name => [name, name])], ''), 'A certificate authority of the store, with its key'),
      check('is_ca', 'It is a certificate authority: it may sign others'))),
  ];
}

/** What the API takes of these fields: what was left empty is left out. */
export function wanted(given) {
  const texts = ['common_name', 'organization', 'organizational_unit', 'country', 'state', 'locality', 'serial_number', 'issuer'];
  const keys = Object.fromEntries(texts.filter(name => given[name]).map(name => [name, given[name]]));
  if (given.sans) keys.sans = given.sans.split(',').map(name => name.trim()).filter(Boolean);
  if (given.days) keys.days = Number(given.days);
  if (given.key_type) keys.key_type = given.key_type;
  if (given.is_ca) keys.is_ca = true;
  else if (given.usage && given.usage !== 'any') keys.usage = { client: given.usage !== 'server', server: given.usage !== 'client' };
  return keys;
}

/** Says what was made, and what it can't be used for. */
function told(made) {
  note(made.state === 'requested' ? `A request for ${made.id} is made` : `${made.id} is made: generation ${made.generation}`);
  for (const warning of made.warnings ?? []) note(warning, 'bad');
  return made.id;
}

/** Generates one. Resolves to its name. */
export function generate(known) {
  const issuers = known.filter(it => it.has_key && it.active !== null).map(it => it.name);
  return ask({
    title: 'Generate a certificate', label: 'Generate', text: 'A new key pair is made here. The private key stays in the store.',
    fields: [h('div.fields', field('Name in the store', input('name', { pattern: '[a-z0-9][a-z0-9._\\-]{0,63}', placeholder: 'made of the common name' })), field('Description', input('description', { maxlength: 4096 }))),
      ...options(issuers), check('csr', 'Only a request (CSR), for another CA to sign')],
    submit: async given => {
      const keys = wanted(given);
      if (given.name) keys.name = given.name;
      if (given.description) keys.description = given.description;
      if (given.csr) { keys.csr = true; delete keys.issuer; }
      return told(await call('POST', '/v1/certificates', keys));
    },
  });
}

/** The fields of a certificate that is brought. */
export function brought() {
  const file = (name, accept) => h('input', { type: 'file', name, accept });
  return [
    h('fieldset', h('legend', 'As files'), h('div.fields', field('Certificate', file('certificate_file', '.pem,.crt,.cer,.der,.p12,.pfx'), 'PEM or DER with its chain, or PKCS#12'), field('Private key', file('key_file', '.pem,.key,.der'), 'PEM or DER, encrypted or not'))),
    h('fieldset', h('legend', 'Or pasted'), h('div.fields', field('Certificate (PEM)', h('textarea', { name: 'certificate', spellcheck: 'false', placeholder: '-----BEGIN CERTIFICATE-----' })), field('Private key (PEM)', h('textarea', { name: 'key', spellcheck: 'false', autocomplete: 'off', placeholder: '-----BEGIN ENCRYPTED PRIVATE KEY-----' })))),
    field('Passphrase', input('passphrase', { type: 'password', autocomplete: 'off' }), 'Of the encrypted key or the PKCS#12; it is used once, and not kept'),
    notice('', 'Without a key it can be trusted, but not presented.'),
  ];
}

/** What the API takes of these fields. */
export async function pieces(given) {
  const certificate = given.certificate_file ? await contents(given.certificate_file) : given.certificate.trim();
  const key = given.key_file ? await contents(given.key_file) : given.key.trim();
  if (!certificate) throw new Error('Choose the file with the certificate, or paste it.');
  return { certificate, ...(key && { key }), ...(given.passphrase && { passphrase: given.passphrase }) };
}

/** Brings one. Resolves to its name. */
export function bring() {
  return ask({
    title: 'Bring a certificate', label: 'Bring', text: 'Into the store, with its key or without.',
    fields: [h('div.fields', field('Name in the store', input('name', { required: true, pattern: '[a-z0-9][a-z0-9._\\-]{0,63}', placeholder: 'gateway' }), 'The name of a waiting request, where it was signed'), field('Description', input('description', { maxlength: 4096 }))), ...brought()],
    submit: async given => told(await call('POST', '/v1/certificates/import', { name: given.name, ...(given.description && { description: given.description }), ...await pieces(given) })),
  });
}
