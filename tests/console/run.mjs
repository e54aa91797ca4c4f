// The console as a person uses it, from sign-in to a rotation under load. One browser for all of it.

import { execFileSync } from 'node:child_process';
import http from 'node:http';
import { readFileSync } from 'node:fs';
import { ask, backend, load } from './backends.mjs';
import { accessible, assert, browse, fits, given, install, openssl, picture, put, step, until, watched } from './kit.mjs';

const HOSTILE = '<img src=x onerror="globalThis.broken=1"><script>globalThis.broken=1</script>';

const backends = given.backends.map(backend);
await Promise.all(backends.map(it => it.start()));
const context = await browse('profile');
const { page, seen } = await watched(context);
const at = (role, name, scope = page) => scope.getByRole(role, { name, exact: true });
const dialog = () => page.getByRole('dialog');
const heading = name => page.getByRole('heading', { name, level: 1, exact: true }).waitFor();
const shown = text => page.getByText(text).first().waitFor();
const gone = () => dialog().waitFor({ state: 'detached' });

async function signIn(token, stay = true) {
  await page.getByLabel('Token').fill(token);
  await page.getByLabel('Stay signed in').setChecked(stay);
  await at('button', 'Sign in').click();
  await heading('Overview');
}

async function open(place, title) {
  await page.goto(`${given.admin}/#/${place}`);
  await heading(title);
}

/** Clicks a button of the dialog, and waits until the dialog is gone. */
async function submit(name) {
  await at('button', name, dialog()).click();
  await gone();
}

/** The certificate as the browser downloads it. */
async function download(name) {
  const begun = page.waitForEvent('download');
  await at('button', 'Download PEM').click();
  const file = await begun;
  assert(file.suggestedFilename() === `${name}.pem`, file.suggestedFilename());
  return readFileSync(await file.path(), 'utf8');
}

async function generate(name, common) {
  await open('certificates', 'Certificates');
  await at('button', 'Generate').click();
  await dialog().getByLabel('Name in the store').fill(name);
  await dialog().getByLabel('Common name').fill(common);
  await dialog().getByText('Advanced options').click();
  await dialog().getByLabel('Organization', { exact: true }).fill('Example & Sons');
  await dialog().getByLabel('Valid for').fill('90');
  await submit('Generate');
  await heading(name);
  return download(name);
}

const through = (listener, path) => ask(given[listener], path);

await step('a wrong token is refused, the right one lets in', async () => {
  await page.goto(given.admin);
  await page.getByLabel('Token').fill('not-the-token-not-the-token');
  await at('button', 'Sign in').click();
  await shown('This is not the token.');
  await accessible(page, 'the sign-in');
  await signIn(given.token);
  await page.reload();
  await heading('Overview');
});

await step('the backend has a check mark, an end and a chain', async () => {
  await open('upstreams/orders', 'orders');
  await at('button', 'Probe now').first().click();
  await shown('Traffic would flow to 1 of 1 endpoint.');
  await page.locator('summary', { hasText: backends[0].address }).first().click();
  await shown('CN=localhost');
  await open('upstreams', 'Upstreams');
  const row = page.getByRole('row', { name: /orders/ });
  await row.getByText(/valid until \d+ \w+ \d{4}/).waitFor();
  assert(await row.locator('.mark.good').count() >= 1, 'no check mark');
});

const first = await step('a key pair is generated and its certificate downloaded', () => generate('gateway', 'gateway.example'));

await step('the backends demand it, and both upstreams present it', async () => {
  assert(first.includes('BEGIN CERTIFICATE') && !first.includes('PRIVATE'), first);
  await Promise.all(backends.map(it => it.demand(first)));
  for (const name of ['orders', 'billing']) {
    assert((await through('web', `/${name}`)).status === 502, 'it is refused before');
    await open(`upstreams/${name}`, name);
    await at('button', 'Set mutual TLS').first().click();
    await dialog().getByLabel('Client certificate').selectOption('gateway');
    await submit('Apply');
    await page.locator('.mark.good', { hasText: 'on: ' }).first().waitFor();
    await until(`${name} with the certificate`, async () => (await through('web', `/${name}`)).body === 'gateway.example');
  }
});

await step('production gets a certificate of its own', async () => {
  const pem = await generate('gateway-live', 'live.gateway.example');
  await backends[0].demand(first, pem);
  await open('promote', 'Promote');
  await at('combobox', 'Upstream').selectOption('orders');
  await at('combobox', 'From').selectOption('');
  await at('combobox', 'To').selectOption('production');
  await at('combobox', 'Certificate').selectOption('gateway-live');
  await picture(page, 'promote');
  await at('button', 'Promote').click();
  await page.getByText('Now: gateway-live').waitFor();
  await until('the promoted certificate', async () => (await through('live', '/orders')).body === 'live.gateway.example');
  assert((await through('web', '/orders')).body === 'gateway.example');
});

await step('mutual TLS is off in production alone, and on again', async () => {
  await open('upstreams/orders', 'orders');
  const set = async choice => {
    await at('button', 'Set mutual TLS').nth(1).click();
    await dialog().getByLabel('Client certificate').selectOption(choice);
    await submit('Apply');
  };
  await set('(off)');
  await until('nothing presented', async () => (await through('live', '/orders')).status === 502);
  assert((await through('web', '/orders')).body === 'gateway.example');
  await set('gateway-live');
  await until('the certificate again', async () => (await through('live', '/orders')).body === 'live.gateway.example');
});

await step('a rotation under load loses nothing', async () => {
  const stop = load(given.web, '/orders');
  await open('rotation/gateway', 'gateway');
  await at('button', 'Stage the next generation').click();
  await submit('Stage');
  await at('button', 'Try it').click();
  await page.getByText('refuses it').first().waitFor();
  assert(await page.locator('li.done').count() === 1, 'a refused trial is no step done');
  await open('rotation/gateway', 'gateway');
  const staged = (await (await fetch(`${given.admin}/v1/certificates/gateway/pem?part=staged`, { headers: { Authorization: `Bearer ${given.token}` } })).text());
  const live = (await (await fetch(`${given.admin}/v1/certificates/gateway-live/pem`, { headers: { Authorization: `Bearer ${given.token}` } })).text());
  await backends[0].demand(first, staged, live);
  await backends[1].demand(first, staged);
  await at('button', 'Try it').click();
  await shown('accepts it');
  await page.locator('li.now', { hasText: 'Activate' }).waitFor();
  await picture(page, 'rotation');
  await at('button', 'Activate').click();
  await shown('Generation 2 is active');
  await shown('Generation 1 is safe to revoke');
  if (given.pictures) {
    await open('overview', 'Overview');
    await new Promise(resolve => setTimeout(resolve, 20_000));
    await picture(page, 'overview');
    await open('rotation/gateway', 'gateway');
  }
  const counted = await stop();
  assert(counted.lost.length === 0 && counted.answered > 50, counted);
  await at('button', 'Retire').click();
  await submit('Retire');
  await shown('There is no previous generation.');
  assert((await through('web', '/orders')).status === 200);
});

await step('a pair is brought by paste, with its passphrase', async () => {
  openssl(given.dir, 'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-keyout', 'own.key', '-out', 'own.pem', '-days', '40', '-passout', 'pass:a long phrase', '-subj', '/CN=own <b>pair<\\/b>');
  const [certificate, key] = ['own.pem', 'own.key'].map(name => readFileSync(`${given.dir}/${name}`, 'utf8'));
  await open('certificates', 'Certificates');
  await at('button', 'Bring one').click();
  await dialog().getByLabel('Name in the store').fill('own');
  await dialog().getByLabel('Description').fill(HOSTILE);
  await dialog().getByLabel('Certificate (PEM)').fill(certificate);
  await dialog().getByLabel('Private key (PEM)').fill(key);
  await dialog().getByLabel('Passphrase').fill('wrong');
  await at('button', 'Bring', dialog()).click();
  await dialog().getByRole('alert').waitFor();
  await dialog().getByLabel('Passphrase').fill('a long phrase');
  await submit('Bring');
  await heading('own');
});

await step('what a name holds is shown as text', async () => {
  await shown(HOSTILE);
  await open('certificates', 'Certificates');
  await shown(HOSTILE);
  await shown('own <b>pair</b>');
  assert(await page.evaluate(() => globalThis.broken === undefined && !document.querySelector('main img, main script, main b')), 'markup');
});

await step('a certificate in use is not deleted, another one is', async () => {
  await open('certificates/gateway', 'gateway');
  await at('button', 'Delete').click();
  await at('button', 'Delete', dialog()).click();
  await dialog().getByRole('alert').waitFor();
  await at('button', 'Cancel', dialog()).click();
  await open('certificates/own', 'own');
  await at('button', 'Delete').click();
  await submit('Delete');
  await heading('Certificates');
});

await step('an API is registered once its backend is verified, and removed again', async () => {
  await open('routes', 'Routes and listeners');
  await at('button', 'Register an API').click();
  await dialog().getByLabel('Name', { exact: true }).fill('stock');
  await dialog().getByLabel('Backend', { exact: true }).fill(`https://localhost:${backends[1].address.split(':')[1]}`);
  await dialog().getByLabel('Path').fill('/stock');
  await at('button', 'Register', dialog()).click();
  await dialog().getByRole('alert').getByText(/not issued by anything that is trusted/).waitFor();
  await dialog().getByText('Add a CA').click();
  await dialog().getByLabel('Its name in the store').fill('backend-ca');
  await dialog().getByLabel('File', { exact: true }).setInputFiles(`${given.pki}/ca.pem`);
  await submit('Register');
  await heading('stock');
  await page.locator('summary').getByText(/valid until/).waitFor();
  await page.locator('summary').getByText('it refuses our certificate').waitFor();
  await at('button', 'Edit keys').click();
  const keys = JSON.parse(await dialog().getByLabel('Keys').inputValue());
  await dialog().getByLabel('Keys').fill(JSON.stringify({ ...keys, timeouts: { idle: '33s' } }));
  await at('button', 'What would change?').click();
  await shown(/timeouts.idle 60s → 33s/);
  await submit('Apply');
  await at('button', 'Remove').first().click();
  await submit('Remove');
  await heading('Upstreams');
});

/** Clicks through the form of a request for a credential, and returns what is shown once, if it is issued at once. */
async function request(definition, more = async () => {}) {
  await open('consumers/acme', 'acme');
  await at('button', 'Request a credential').click();
  await at('combobox', 'Definition', dialog()).selectOption(definition);
  await more();
  await at('button', 'Request', dialog()).click();
}

/** The key that the page shows once, and the certificate if the credential has one. */
async function once({ certified = false } = {}) {
  const key = await dialog().getByLabel('API key').textContent();
  const certificate = certified ? await dialog().getByLabel('Client certificate').textContent() : null;
  await at('button', 'Close', dialog()).click();
  await gone();
  assert(!(await page.content()).includes(key), 'the key stays in the page');
  return { key, certificate };
}

const issued = await step('a consumer asks for a credential, and an operator approves it', async () => {
  openssl(given.dir, 'req', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', 'acme.key', '-out', 'acme.csr', '-subj', '/CN=whatever');
  await open('consumers', 'Consumers');
  await at('button', 'Add a consumer').click();
  await dialog().getByLabel('Name').fill('acme');
  await dialog().getByLabel('Title').fill(HOSTILE);
  await submit('Add');
  await shown(HOSTILE);
  await request('api-key-mtls', async () => {
    await dialog().getByText('Client certificate', { exact: true }).click();
    await dialog().getByLabel('Request (CSR)').fill(readFileSync(`${given.dir}/acme.csr`, 'utf8'));
  });
  await gone();
  await open('consumers', 'Consumers');
  await picture(page, 'consumers');
  await accessible(page, 'the queue');
  await at('button', 'Approve').click();
  const made = await once({ certified: true });
  put('acme.pem', made.certificate);
  return made;
});

const portal = await step('the consumer calls with key and certificate, by its browser', async () => {
  install(`${given.dir}/acme.pem`, 'acme.key', `${given.pki}/ca.pem`);
  const site = `https://localhost:${given.public.split(':').at(-1)}`;
  const browser = await browse('consumer', site);
  const call = await browser.newPage();
  const status = async key => {
    await call.setExtraHTTPHeaders(key ? { 'X-Api-Key': key } : {});
    return (await call.goto(`${site}/private`)).status();
  };
  assert(await status(issued.key) === 200, await call.textContent('body'));
  assert(await status() === 401 && await status('another-key') === 401, 'without its key');
  return { browser, status };
});

await step('suspended it is refused at once, resumed it is good again', async () => {
  await open('consumers/credential/acme-api-key-mtls', 'acme-api-key-mtls');
  await at('button', 'Suspend').click();
  await dialog().getByLabel('Reason').fill('too many calls');
  await submit('Suspend');
  await at('button', 'Resume').waitFor();
  assert(await portal.status(issued.key) === 403, 'suspended');
  await at('button', 'Resume').click();
  await at('button', 'Suspend').waitFor();
  assert(await portal.status(issued.key) === 200, 'resumed');
});

await step('a stranger asks by the page for consumers, and collects what was approved', async () => {
  const site = `https://localhost:${given.public.split(':').at(-1)}/portal`;
  const { page: form, seen: strange } = await watched(portal.browser);
  const named = name => form.getByRole('heading', { name, level: 1, exact: true }).waitFor();
  await form.goto(site);
  await accessible(form, 'the page for consumers');
  await form.getByLabel('Your name').fill(HOSTILE);
  await form.getByLabel('Where you can be reached').fill('stranger@example.com');
  await form.getByRole('button', { name: 'Send the request' }).click();
  await named('Your request was sent');
  const code = await form.locator('pre').first().textContent();
  await form.getByText('A link to your request').click();
  await named('Your request');
  await form.getByText('It waits for the operator’s decision.').waitFor();
  await open('consumers', 'Consumers');
  await shown(HOSTILE);
  await at('button', 'Approve').click();
  await shown('to be collected by its code');
  assert(await dialog().count() === 0, 'the operator gets the key');
  await form.goto(`${site}#${code}`);
  await form.getByText('It was approved.').waitFor();
  await form.getByLabel(/make the key for me/).check();
  await accessible(form, 'an approved request');
  await form.getByRole('button', { name: 'Collect the credential' }).click();
  await named('Your credential');
  await accessible(form, 'what was collected');
  await form.setViewportSize({ width: 400, height: 800 });
  await fits(form, 'what was collected');
  const [key, passphrase] = await Promise.all(['#key', '#passphrase'].map(it => form.locator(it).textContent()));
  const begun = form.waitForEvent('download');
  await form.locator('#p12').click();
  const container = put('stranger.p12', readFileSync(await (await begun).path()));
  const store = `${given.dir}/.pki/nssdb`;
  execFileSync('pk12util', ['-i', container, '-W', passphrase, '-K', '', '-d', `sql:${store}`], { stdio: 'pipe' });
  openssl(given.dir, 'pkcs12', '-in', container, '-passin', `pass:${passphrase}`, '-nodes', '-out', 'stranger.pem');
  const answer = execFileSync('curl', ['-sS', '--max-time', '15', '--cacert', `${given.pki}/ca.pem`, '--cert', 'stranger.pem', '-H', `X-Api-Key: ${key}`, `${new URL(site).origin}/private`], { cwd: given.dir });
  assert(String(answer) === 'welcome', String(answer));
  assert(!await form.evaluate(() => globalThis.broken) && !strange.errors.length, strange.errors);
  for (const { url, referer } of strange.requests) assert(!url.split('#')[0].includes(code) && !referer?.includes(code), url, referer);
  await portal.browser.close();
});

await step('a credential expires by itself', async () => {
  await request('brief');
  const { key } = await once();
  const status = async () => (await ask(given.web, '/brief', undefined, { 'X-Api-Key': key })).status;
  assert(await status() === 200, 'before its end');
  await until('its end', async () => await status() === 401);
  await open('overview', 'Overview');
  await shown(/credential acme-brief of acme has expired/);
  await open('consumers/acme', 'acme');
  await shown('expired');
  await open('consumers/credential/acme-api-key-mtls', 'acme-api-key-mtls');
  await at('button', 'Revoke').click();
  await submit('Revoke');
  await page.locator('.mark', { hasText: 'revoked' }).first().waitFor();
});

await step('a test request shows what the backend says, and the log what failed', async () => {
  await open('invoke', 'Test invoke');
  await at('combobox', 'To').selectOption('upstream:billing');
  await at('combobox', 'Certificate').selectOption('gateway');
  await at('button', 'Send').click();
  await shown('200 OK');
  await page.getByLabel('Content of the response').getByText('gateway.example').waitFor();
  await shown('Accepted: gateway #2');
  await open('failures', 'Failures');
  await shown(/certificate_required/);
});

const VIEWS = [['invoke', 'Test invoke'], ['failures', 'Failures'], ['overview', 'Overview'], ['upstreams', 'Upstreams'], ['upstreams/orders', 'orders'], ['certificates', 'Certificates'], ['certificates/gateway', 'gateway'],
  ['rotation/gateway', 'gateway'], ['promote', 'Promote'], ['routes', 'Routes and listeners'], ['consumers', 'Consumers'], ['consumers/acme', 'acme'], ['consumers/credential/acme-api-key-mtls', 'acme-api-key-mtls'], ['workers', 'Workers']];

await step('every view is accessible, light and dark, wide and narrow', async () => {
  for (const scheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme: scheme });
    for (const [place, title] of VIEWS) {
      await open(place, title);
      await accessible(page, `${place}, ${scheme}`);
      await picture(page, `${place.replace('/', '-')}-${scheme}`);
    }
  }
  await page.setViewportSize({ width: 400, height: 800 });
  for (const [place, title] of VIEWS) {
    await open(place, title);
    await fits(page, place);
    await picture(page, `${place.replace('/', '-')}-narrow`);
  }
  await at('button', 'Menu').click();
  await at('link', 'Certificates').click();
  await heading('Certificates');
  await page.setViewportSize({ width: 1280, height: 860 });
  await page.emulateMedia({ colorScheme: 'light' });
});

await step('it works by the keyboard alone, and read-only offers no change', async () => {
  await open('overview', 'Overview');
  await page.keyboard.press('Tab');
  for (let presses = 0; presses < 40 && await page.evaluate(() => document.activeElement?.textContent) !== 'Certificates'; presses += 1) await page.keyboard.press('Shift+Tab');
  await page.keyboard.press('Enter');
  await heading('Certificates');
  await at('button', 'Generate').focus();
  await page.keyboard.press('Enter');
  await dialog().waitFor();
  await page.keyboard.press('Escape');
  await gone();
  await page.getByLabel('Read only').check();
  await at('button', 'Generate').waitFor({ state: 'detached' });
  await page.getByLabel('Read only').uncheck();
  await at('button', 'Generate').waitFor();
});

await step('another page can do nothing, and a name that resolves here is refused', async () => {
  const form = `<form method=post action="${given.admin}/v1/drain" enctype="text/plain"><input name=a value=b></form><iframe src="${given.admin}/"></iframe><script>document.forms[0].submit()</script>`;
  const elsewhere = http.createServer((request, response) => response.setHeader('Content-Type', 'text/html').end(form));
  await new Promise(resolve => elsewhere.listen(0, '127.0.0.1', resolve));
  const other = await context.newPage();
  const answered = other.waitForResponse(response => response.url().endsWith('/v1/drain'));
  await other.goto(`http://127.0.0.1:${elsewhere.address().port}/`);
  assert((await answered).status() === 403, (await answered).status());
  await other.close();
  elsewhere.close();
  const status = execFileSync('curl', ['-sS', '-o', '/dev/null', '-w', '%{http_code}', '-H', 'Host: rebound.example', `${given.admin}/`], { encoding: 'utf8' });
  assert(status === '421', status);
  assert((await through('web', '/orders')).status === 200, 'it drains');
});

await step('the token is nowhere but in the page', async () => {
  assert(seen.requests.every(it => !it.url.includes(given.token) && !it.referer), seen.requests.filter(it => it.referer));
  assert(seen.requests.every(it => it.url.startsWith(given.admin) || /^(blob|data):/.test(it.url)), 'outside assets', seen.requests.map(it => it.url));
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]));
  assert(!kept.includes(given.token), 'kept');
  const metrics = await (await fetch(`${given.admin}/metrics`, { headers: { Authorization: `Bearer ${given.token}` } })).text();
  assert(metrics.includes('ringate_') && !metrics.includes(given.token), 'in a metric');
  await page.goto(`${given.admin}/?token=0123#token=4567`);
  await until('an address without a token', () => !/token/.test(page.url()));
});

await step('a token that is not to stay is gone with the page, and the read-only one changes nothing', async () => {
  await page.goto(`${given.admin}/#/overview`);
  await at('button', 'Sign out').click();
  await heading('Sign in');
  await signIn(given.token, false);
  await page.reload();
  await heading('Sign in');
  await signIn(given.readOnlyToken);
  await open('certificates', 'Certificates');
  await shown('This token may change nothing.');
  assert(await at('button', 'Generate').count() === 0, 'a button that changes');
  const status = await page.evaluate(() => fetch('/v1/certificates', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"common_name":"x"}' }).then(answer => answer.status));
  assert(status === 403, status);
  await at('button', 'Sign out').click();
  await heading('Sign in');
  assert(await page.evaluate(() => fetch('/v1/status').then(answer => answer.status)) === 401, 'still signed in');
});

assert(seen.errors.length === 0, 'errors in the console:', seen.errors);
await context.close();
await Promise.all(backends.map(it => it.stop()));
console.log('done');
process.exit(0);
