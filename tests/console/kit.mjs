// What the console's tests share: a browser, a page that is watched, and steps with names.

import { createRequire } from 'node:module';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Where `scripts/test` puts playwright-core and axe-core. */
const require = createRequire(join(process.env.CONSOLE_TOOLS, 'package.json'));
const { chromium } = require('playwright-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

/** How long anything may take on a loaded machine, in milliseconds. */
export const PATIENCE = 20_000;

/** What the test's Rust side has started: addresses, the token, folders. */
export const given = JSON.parse(process.env.CONSOLE_GIVEN);

/** Chromium's own traffic would leave the machine: no updates, no sync, no QUIC. */
const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage'];

/** A browser. `presents`: the site to which it presents a client certificate of its NSS store without a question. */
export async function browse(profile, presents) {
  const folder = join(given.dir, profile);
  if (presents) {
    mkdirSync(join(folder, 'Default'), { recursive: true });
    const exceptions = { auto_select_certificate: { [`${presents},*`]: { setting: { filters: [{}] } } } };
    writeFileSync(join(folder, 'Default/Preferences'), JSON.stringify({ profile: { content_settings: { exceptions } } }));
  }
  const context = await chromium.launchPersistentContext(folder, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', headless: true, args: ARGUMENTS, acceptDownloads: true,
    viewport: { width: 1280, height: 860 }, colorScheme: 'light', env: { ...process.env, HOME: given.dir },
  });
  context.setDefaultTimeout(PATIENCE);
  return context;
}

let watching;

/** A page whose errors, and every request that it makes, are kept. */
export async function watched(context) {
  const page = await context.newPage();
  const seen = { errors: [], requests: [] };
  page.on('console', message => {
    // A refusal that a test asks for is in the console as a failed resource; what the page itself says is not.
    if (message.type() === 'error' && !/Failed to load resource/.test(message.text())) seen.errors.push(message.text());
  });
  page.on('pageerror', error => seen.errors.push(String(error)));
  page.on('request', request => seen.requests.push({ url: request.url(), referer: request.headers().referer }));
  watching ??= { page, seen };
  return { page, seen };
}

let number = 0;

/** A step of the test, whose name is said when it fails. */
export async function step(name, work) {
  const begun = Date.now();
  try {
    const result = await work();
    console.log(`${++number}. ${name} (${Date.now() - begun} ms)`);
    return result;
  } catch (error) {
    const text = await watching?.page.evaluate(() => `${location.href}\n${document.body.innerText}`).catch(() => '');
    error.message = `${name}: ${error.message}\n--- shown ---\n${text}\n--- errors ---\n${watching?.seen.errors.join('\n')}`;
    console.log(error.stack);
    process.exit(1);
  }
}

export function assert(condition, ...said) {
  if (!condition) throw new Error(said.map(it => typeof it === 'string' ? it : JSON.stringify(it)).join(' ') || 'not true');
}

/** Waits until `condition` is true. */
export async function until(what, condition) {
  const end = Date.now() + PATIENCE;
  let last;
  while (Date.now() < end) {
    try { last = await condition(); } catch (error) { last = error.message; }
    if (last === true) return;
    await new Promise(resolve => setTimeout(resolve, 50));
  }
  throw new Error(`${what} did not come; at last: ${JSON.stringify(last)}`);
}

/** No serious or critical finding of axe-core's, on what is shown now. */
export async function accessible(page, where) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  const bad = found.violations.filter(it => ['serious', 'critical'].includes(it.impact));
  assert(!bad.length, `axe-core on ${where}:`, bad.map(it => ({ id: it.id, help: it.help, nodes: it.nodes.slice(0, 4).map(node => node.html + ' ' + node.failureSummary) })));
}

/** Nothing is wider than the window. */
export async function fits(page, where) {
  const { wide, shown, culprits } = await page.evaluate(() => {
    const shown = document.documentElement.clientWidth;
    const over = [...document.querySelectorAll('body *')].filter(node => node.getBoundingClientRect().right > shown + 1 && !node.closest('.scroll, pre, svg'));
    return { wide: document.documentElement.scrollWidth, shown, culprits: over.slice(0, 5).map(node => node.outerHTML.slice(0, 160)) };
  });
  assert(wide <= shown, `${where} is ${wide} wide in a window of ${shown}:`, culprits);
}

/** Keeps a picture, where pictures are asked for. */
export async function picture(page, name) {
  if (!given.pictures) return;
  mkdirSync(given.pictures, { recursive: true });
  await page.screenshot({ path: join(given.pictures, `${name}.png`) });
}

/** Puts a client's certificate with its key, and the CA of sites, into the store of Chromium: NSS, in the home folder. */
export function install(certificate, key, ca) {
  const store = join(given.dir, '.pki/nssdb');
  mkdirSync(store, { recursive: true });
  const nss = (program, ...words) => execFileSync(program, [...words, '-d', `sql:${store}`], { stdio: 'pipe' });
  nss('certutil', '-N', '--empty-password');
  nss('certutil', '-A', '-n', 'sites', '-t', 'C,,', '-i', ca);
  openssl(given.dir, 'pkcs12', '-export', '-in', certificate, '-inkey', key, '-out', 'client.p12', '-passout', 'pass:once', '-name', 'client');
  nss('pk12util', '-i', join(given.dir, 'client.p12'), '-W', 'once', '-K', '');
}

export const openssl = (folder, ...words) => execFileSync('openssl', words, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] });

export function put(name, text) {
  const path = join(given.dir, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
}
