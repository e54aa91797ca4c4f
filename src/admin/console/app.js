// The page: sign-in, the menu, and which view is shown.

import { call, get, has, learn, onLeave, setToken } from './api.js';
import { h, keepTimes, notice, put, svg } from './dom.js';
import { duration } from './format.js';
import { check, field, input, values } from './form.js';
import { begin, end, refresh, state, watch } from './state.js';
import { certificates } from './views/certificates.js';
import { consumers } from './views/consumers.js';
import { failures } from './views/failures.js';
import { invoke } from './views/invoke.js';
import { attention, overview } from './views/overview.js';
import { promote } from './views/promote.js';
import { rotation } from './views/rotation.js';
import { routes } from './views/routes.js';
import { upstreams } from './views/upstreams.js';
import { workers } from './views/workers.js';

/** Each view by its name in the address: its title, the call without which it is not shown, and what draws it. */
const VIEWS = [
  { name: 'overview', title: 'Overview', view: overview, count: () => attention(state.status).length },
  { name: 'upstreams', title: 'Upstreams', view: upstreams },
  { name: 'certificates', title: 'Certificates', view: certificates, needs: 'GET /v1/certificates' },
  { name: 'rotation', title: 'Rotation', view: rotation, needs: 'POST /v1/certificates/{name}/trial' },
  { name: 'promote', title: 'Promote', view: promote, needs: 'PATCH /v1/upstreams/{name}/environments/{environment}' },
  { name: 'invoke', title: 'Test invoke', view: invoke, needs: 'POST /v1/invoke' },
  { name: 'consumers', title: 'Consumers', view: consumers, needs: 'GET /v1/consumers' },
  { name: 'routes', title: 'Routes', view: routes, needs: 'GET /v1/routes' },
  { name: 'workers', title: 'Workers', view: workers },
  { name: 'failures', title: 'Failures', view: failures, needs: 'GET /v1/logs' },
];

const app = document.getElementById('app');
let shown = null;

/** Set while a session may be open: its cookie can't be read here. No secret. */
const SESSION = 'ringate-session';

function signIn(problem) {
  end();
  shown?.stop();
  shown = page = null;
  localStorage.removeItem(SESSION);
  document.title = 'Sign in – Ringate';
  const token = input('token', { type: 'password', required: true, autocomplete: 'current-password' });
  const trouble = h('div', problem && notice('bad', problem));
  // Password managers keep a password by a name.
  const user = h('input', { type: 'text', name: 'user', value: 'ringate', autocomplete: 'username', hidden: true });
  const form = h('form.signin', brand(), h('h1', 'Sign in'), user,
    field('Token', token, 'What the file of admin.token_file holds, or that of admin.read_only_token_file.'),
    check('stay', 'Stay signed in for 12 hours, by a cookie', true), trouble,
    h('button.primary', { type: 'submit' }, 'Sign in'));
  form.addEventListener('submit', async event => {
    event.preventDefault();
    const given = values(form);
    try {
      if (given.stay) {
        await call('POST', '/v1/session', { token: given.token.trim() });
        localStorage.setItem(SESSION, 'open');
      } else setToken(given.token.trim());
      await enter();
    } catch (error) {
      setToken(null);
      put(trouble, notice('bad', error.status === 401 ? 'This is not the token.' : error.message));
    }
  });
  put(app, h('main', { id: 'main', tabindex: -1 }, form));
  token.focus();
}

async function signOut() {
  if (localStorage.getItem(SESSION)) await call('DELETE', '/v1/session').catch(() => {});
  setToken(null);
  signIn();
}

function brand() {
  const ring = svg('svg', { viewBox: '0 0 24 24', fill: 'none', stroke: 'currentColor', 'stroke-width': 2.4, 'aria-hidden': 'true' },
    svg('circle', { cx: 12, cy: 12, r: 9 }), svg('path', { d: 'M12 3v18M8 7v10M16 7v10', 'stroke-width': 1.7 }));
  return h('div.brand', ring, h('span', 'Ringate'));
}

const offered = () => VIEWS.filter(view => !view.needs || has(view.needs));

/** The menu, which knows which view is open. */
function menu(side) {
  const links = h('nav.menu', { 'aria-label': 'Views' });
  links.update = () => {
    const [open] = place();
    put(links, offered().map(view => {
      const number = view.count?.() ?? 0;
      return h('a', { href: `#/${view.name}`, 'aria-current': open === view.name && 'page', 'data-key': view.name, click: () => side.classList.remove('open') },
        view.title, number > 0 && h('span.count', { title: 'What needs attention' }, number));
    }));
  };
  return links;
}

function themes() {
  const select = h('select', { 'aria-label': 'Colours' }, [['', 'System colours'], ['light', 'Light'], ['dark', 'Dark']].map(([value, text]) => h('option', { value }, text)));
  const apply = value => value ? document.documentElement.setAttribute('data-theme', value) : document.documentElement.removeAttribute('data-theme');
  select.value = localStorage.getItem('ringate-theme') ?? '';
  apply(select.value);
  select.addEventListener('change', () => {
    localStorage.setItem('ringate-theme', select.value);
    apply(select.value);
  });
  return select;
}

function frame() {
  const side = h('div.side');
  const links = menu(side);
  const about = h('div');
  const stale = h('div.stale');
  const main = h('main', { id: 'main', tabindex: -1 });
  const burger = h('button.burger', { type: 'button', 'aria-expanded': 'false' }, 'Menu');
  burger.addEventListener('click', () => burger.setAttribute('aria-expanded', String(side.classList.toggle('open'))));
  const guard = h('label.check', h('input', { type: 'checkbox', checked: state.readOnly, disabled: state.forced, change: event => {
    state.readOnly = event.target.checked;
    show();
  } }), 'Read only');
  side.append(h('div.bar', brand(), burger), links, h('div.foot', about, guard, themes(), leaveButton()));
  put(app, h('div.frame', side, h('div', stale, main)));
  const update = () => {
    const { status } = state;
    if (!status) return;
    links.update();
    put(about, h('div', `Ringate ${status.version}`), h('div', `up ${duration(status.uptime_seconds)}${status.draining ? ', draining' : ''}`),
      state.forced && h('div', 'This token may change nothing.'));
    put(stale, state.problem && notice('bad', `What is shown is not up to date: ${state.problem.message}.`));
  };
  return { main, links, update };
}

function leaveButton() {
  return state.by !== 'unix-socket' && h('button', { type: 'button', click: signOut }, 'Sign out');
}

/** The parts of the address: the view's name, and what it is about. */
function place() {
  const parts = location.hash.replace(/^#\/?/, '').split('/').map(part => { try { return decodeURIComponent(part); } catch { return part; } });
  return parts[0] ? parts : ['overview'];
}

let page = null;

/** Shows the view of the address. */
async function show() {
  const [name, ...rest] = place();
  const found = offered().find(view => view.name === name) ?? offered()[0];
  shown?.stop();
  const made = { stops: [], updates: [], stop() { for (const stop of this.stops) stop(); } };
  shown = made;
  page.links.update();
  const context = { args: rest, onUpdate: work => made.updates.push(work), onStop: work => made.stops.push(work), again: () => show() };
  let content;
  try { content = await found.view(context); } catch (problem) { content = [h('h1', found.title), notice('bad', problem.message)]; }
  if (shown !== made) return;
  const moved = page.main.dataset.place !== location.hash;
  page.main.dataset.place = location.hash;
  put(page.main, content);
  document.title = `${page.main.querySelector('h1')?.textContent ?? found.title} – Ringate`;
  if (moved) {
    page.main.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

async function enter() {
  const session = await get('/v1/session');
  state.by = session.by;
  state.forced = session.role !== 'full';
  state.readOnly ||= state.forced;
  await refresh();
  if (!state.status) throw state.problem;
  await learn();
  page = frame();
  page.update();
  await show();
  begin();
}

watch(() => {
  if (!page || !state.status) return;
  page.update();
  for (const update of [...shown?.updates ?? []]) update();
});
addEventListener('hashchange', () => { if (page) show(); });
setInterval(keepTimes, 10_000);
onLeave(() => {
  if (!page) return;
  setToken(null);
  signIn('The session has ended: sign in again.');
});

// An address with a token would be in the browser's history: it is taken out before anything else.
if (/[#&?]token=/.test(location.href)) history.replaceState(null, '', location.pathname);
// The server has written the role of the caller into the page. A link from another site sends no cookie: then the page asks for the session.
if (document.documentElement.dataset.role === 'none' && !localStorage.getItem(SESSION)) signIn();
else enter().catch(problem => signIn(problem.status === 401 ? undefined : problem.message));
