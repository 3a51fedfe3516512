// The console: one page over the REST API. Everything that is shown goes in as text, never as markup.
'use strict';

const $ = (id) => document.getElementById(id);
const api = '/api/v1/';
const names = new Map();
const state = { key: sessionStorage.getItem('key'), me: null, turn: 0, stop: () => {} };

/** An element. Attributes that are functions are listeners. */
function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name, value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

async function ask(path, options = {}) {
  const headers = { Authorization: `Bearer ${state.key}` };
  if (options.body !== undefined) headers['Content-Type'] = 'application/json';
  const body = options.body === undefined ? undefined : JSON.stringify(options.body);
  const answer = await fetch(api + path, { method: options.method ?? 'GET', headers, body });
  if (answer.status === 401) signOut('This API key is not known.');
  const value = answer.status === 204 ? null : await answer.json();
  if (!answer.ok) throw new Error(value.detail ?? answer.statusText);
  return value;
}

// ---- signing in and out

async function signIn() {
  try {
    state.me = await ask('me');
  } catch (error) {
    return signOut(error.message);
  }
  sessionStorage.setItem('key', state.key);
  $('login').hidden = true;
  $('app').hidden = false;
  $('who').textContent = `${state.me.name} · ${state.me.tenant_name ?? state.me.role}`;
  show();
}

function signOut(reason = '') {
  state.stop();
  state.key = null;
  names.clear();
  sessionStorage.removeItem('key');
  $('app').hidden = true;
  $('login').hidden = false;
  $('refused').textContent = reason;
  $('key').value = '';
  $('key').focus();
}

$('login').addEventListener('submit', (event) => {
  event.preventDefault();
  state.key = $('key').value.trim();
  signIn();
});
$('out').addEventListener('click', () => signOut());

// ---- what is shown, and how

const time = (text) => (text ? new Date(text).toLocaleString() : '–');
const number = (value) => h('td', { class: 'number' }, value === undefined || value === null ? '–' : value.toLocaleString());
const bytes = (count) => {
  const power = Math.min(Math.floor(Math.log2(Math.max(count, 1)) / 10), 5);
  return `${(count / 1024 ** power).toLocaleString(undefined, { maximumFractionDigits: 1 })} ${['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'][power]}`;
};
const card = (title, value) => h('div', { class: 'card' }, h('b', {}, String(value)), h('span', {}, title));
const mono = (text) => h('td', { class: 'mono' }, text ?? '–');
const pill = (kind, text) => h('span', { class: `pill ${kind}` }, text);
const applied = (item) => h('td', {}, item.applied ? pill('good', 'in force')
  : item.no_room === undefined || item.no_room === null ? pill('wait', 'pending') : pill('bad', 'no room'));

/** A thing's name instead of its id, as soon as it is known; asked for once. */
function named(path, id) {
  const cell = h('td', {}, '–');
  if (id) {
    if (!names.has(id)) names.set(id, ask(`${path}/${id}`).then((thing) => thing.name, () => id));
    cell.textContent = '…';
    names.get(id).then((name) => { cell.textContent = name; });
  }
  return cell;
}

const lists = {
  tenants: [['Name', (x) => h('td', {}, x.name)], ['Id', (x) => mono(x.id)], ['Since', (x) => h('td', {}, time(x.created_at))], ['', applied]],
  applications: [['Name', (x) => h('td', {}, x.name)], ['Tenant', (x) => named('tenants', x.tenant)], ['Id', (x) => mono(x.id)], ['', applied]],
  profiles: [['Name', (x) => h('td', {}, x.name)], ['Region', (x) => h('td', {}, x.region)], ['LoRaWAN', (x) => h('td', {}, x.mac_version)],
    ['Tenant', (x) => (x.tenant ? named('tenants', x.tenant) : h('td', {}, 'everyone'))], ['', applied]],
  devices: [['DevEUI', (x) => mono(x.dev_eui)], ['Name', (x) => h('td', {}, x.name ?? '–')], ['Application', (x) => named('applications', x.application)],
    ['', (x) => h('td', {}, x.enabled ? x.activation.toUpperCase() : pill('wait', 'disabled'))],
    ['DevAddr', (x) => mono(x.session?.dev_addr)], ['FCntUp', (x) => number(x.session?.fcnt_up)], ['RSSI', (x) => number(x.session?.rssi)],
    ['Last seen', (x) => h('td', {}, x.live ? time(x.last_seen) : 'unknown')], ['Queue', (x) => number(x.queue.length)], ['', applied]],
  gateways: [['EUI', (x) => mono(x.eui)], ['Name', (x) => h('td', {}, x.name ?? '–')],
    ['', (x) => h('td', {}, !x.live ? pill('wait', 'unknown') : x.state?.online ? pill('good', 'online') : pill('bad', 'offline'))],
    ['Last seen', (x) => h('td', {}, time(x.state?.last_seen))], ['Address', (x) => mono(x.state?.address)], ['Shard', (x) => number(x.state?.shard)],
    ['Up', (x) => number(x.state?.uplinks)], ['Down', (x) => number(x.state?.downlinks)], ['', applied]],
  streams: [['Name', (x) => h('td', {}, h('a', { href: `#stream/${x.id}` }, x.name))], ['Level', (x) => h('td', {}, x.level)], ['Copies', (x) => h('td', {}, x.copies)],
    ['Delivery', (x) => h('td', {}, x.delivery)], ['Kept', (x) => h('td', { class: 'number' }, x.delivery === 'durable' && x.state ? bytes(x.state.retained_bytes) : '–')],
    ['Lag', (x) => h('td', { class: 'number' }, x.state?.groups.length ? bytes(Math.max(...x.state.groups.map((group) => group.lag_bytes))) : '–')],
    ['Connections', (x) => number(x.state?.connections.length)], ['Delivered', (x) => number(x.state?.delivered)],
    ['Dropped', (x) => number(x.state && Object.values(x.state.drops).reduce((sum, count) => sum + count, 0))],
    ['Downlinks', (x) => number(x.state?.downlinks)], ['', applied],
    ['', (x) => h('td', {}, state.me.role === 'tenant_viewer' ? '' : h('a', { href: `#live/${x.id}` }, 'Watch'))]],
};

const pages = {
  overview: { title: 'Overview', show: overview, every: 3000 },
  ...Object.fromEntries(Object.keys(lists).map((name) => [name, { title: name[0].toUpperCase() + name.slice(1), show: (main, turn, after) => list(main, turn, name, after), every: 5000 }])),
  events: { title: 'Events', show: events, every: 3000 },
};

function table(columns, items) {
  const head = h('tr', {}, columns.map(([title]) => h('th', {}, title)));
  const rows = items.map((item) => h('tr', {}, columns.map(([, cell]) => cell(item))));
  return h('div', { class: 'card scroll' }, h('table', {}, h('thead', {}, head), h('tbody', {}, rows)));
}

async function link() {
  const status = await ask('status');
  const { dataplane } = status;
  const [kind, text] = !dataplane.connected ? ['bad', 'no dataplane'] : status.pending ? ['wait', `${status.pending} pending`] : ['good', 'in force'];
  $('link').className = `pill ${kind}`;
  $('link').textContent = text;
  return status;
}

async function overview() {
  const [status, recent] = await Promise.all([link(), ask('events?limit=10')]);
  const { dataplane } = status;
  const journals = state.me.role === 'operator' && dataplane.connected ? await ask('journal').then((found) => found.items, () => []) : [];
  const counts = Object.entries(status.counts ?? {}).map(([title, count]) => card(title, count.toLocaleString()));
  const shards = dataplane.shards.map((revision, shard) => ({ shard, revision }));
  const parts = [
    h('h1', {}, 'Overview'),
    h('div', { class: 'cards' }, card('dataplane', dataplane.connected ? 'connected' : 'away'), card('stored revision', status.revision),
      card('in force', dataplane.connected ? dataplane.revision : '–'), card('pending', status.pending), counts),
    dataplane.refused ? h('p', { class: 'bad', role: 'alert' }, `The dataplane refused: ${dataplane.refused}`) : null,
    h('h2', {}, 'Shards'),
    shards.length
      ? table([['Shard', (x) => number(x.shard)], ['Revision in force', (x) => number(x.revision)],
        ['', (x) => h('td', {}, x.revision >= status.revision ? pill('good', 'current') : pill('wait', `${status.revision - x.revision} behind`))]], shards)
      : h('p', { class: 'soft' }, 'None: the dataplane is not connected. Changes are stored and wait.'),
    journals.length ? h('h2', {}, 'Journals') : null,
    journals.length
      ? table([['Shard', (x) => number(x.shard)], ['', (x) => h('td', {}, x.disk === 'healthy' ? pill('good', 'healthy') : pill('bad', x.disk.replace('_', ' ')))],
        ['Segments', (x) => number(x.segments)], ['Bytes', (x) => h('td', { class: 'number' }, bytes(x.bytes))], ['Free', (x) => h('td', { class: 'number' }, bytes(x.free_bytes))],
        ['Stored', (x) => number(x.stored_records)], ['Failed', (x) => number(x.failed_writes)], ['', (x) => h('td', { class: 'wrap' }, x.detail)]], journals)
      : null,
    h('h2', {}, 'Lately'),
    eventTable(recent.items),
    h('p', { class: 'soft' }, `Trunkline ${status.version}${dataplane.software ? `, dataplane ${dataplane.software}` : ''} · streams at ${status.stream_url}`),
  ];
  return parts;
}

async function list(main, turn, name, after) {
  const [page] = await Promise.all([ask(`${name}?limit=50${after ? `&after=${encodeURIComponent(after)}` : ''}`), link()]);
  const more = h('div', { class: 'row' },
    after ? h('a', { href: `#${name}` }, 'First') : null, page.next ? h('a', { href: `#${name}/${encodeURIComponent(page.next)}` }, 'Next') : null);
  const none = h('p', { class: 'soft' }, `No ${name} yet. Make some through the API or with the command line.`);
  return [h('h1', {}, pages[name].title), page.items.length ? table(lists[name], page.items) : none, h('p'), more];
}

function eventTable(items) {
  if (!items.length) return h('p', { class: 'soft' }, 'Nothing yet.');
  return table([['When', (x) => h('td', {}, time(x.at))], ['What', (x) => h('td', {}, x.kind.replaceAll('_', ' '))],
    ['Device', (x) => mono(x.device)], ['Gateway', (x) => mono(x.gateway)], ['', (x) => h('td', { class: 'wrap' }, x.detail)]], [...items].reverse());
}

async function events() {
  const [recent] = await Promise.all([ask('events?limit=200'), link()]);
  return [h('h1', {}, 'Events'), eventTable(recent.items)];
}

// ---- a stream: how it delivers, its groups, its dead letters

const mayWrite = () => state.me.role !== 'tenant_viewer';
const durableFields = [['retention_s', 'Kept for (s)', '604800', 60, 315360000], ['retention_bytes', 'Kept bytes', '10737418240', 1048576, 2 ** 50],
  ['in_flight_max', 'In flight', '256', 1, 4096], ['attempts_max', 'Attempts', '5', 1, 100], ['retry_s', 'Retry after (s)', '10', 0, 86400],
  ['ack_timeout_s', 'Acknowledge within (s)', 'no limit', 5, 86400]];

function deliveryForm(stream, send) {
  const choice = (name, values, chosen) => h('select', { name }, values.map((value) => h('option', { value, selected: value === chosen }, value)));
  const field = ([name, title, usual, min, max]) => h('label', {}, title, h('input', { name, type: 'number', min, max, placeholder: usual, value: stream[name] ?? undefined }));
  const fields = h('fieldset', { class: 'row' }, h('label', {}, 'Accepted once', choice('accept', ['disk', 'memory'], stream.accept)), durableFields.map(field));
  const form = h('form', { class: 'card', submit: save },
    h('div', { class: 'row' }, h('label', {}, 'Delivery', choice('delivery', ['live', 'durable'], stream.delivery)), h('button', { class: 'main' }, 'Save')), fields);
  const toggle = () => { fields.hidden = fields.disabled = form.elements.delivery.value === 'live'; };
  form.elements.delivery.addEventListener('change', toggle);
  toggle();
  return form;

  function save(event) {
    event.preventDefault();
    const body = Object.fromEntries(new FormData(form));
    for (const [name] of durableFields) if (name in body) body[name] = body[name] === '' ? null : Number(body[name]);
    send(`streams/${stream.id}`, { method: 'PATCH', body }, 'Saved.');
  }
}

async function stream(main, id) {
  const turn = state.turn;
  const path = `streams/${id}`;
  const answer = h('p', { class: 'soft', role: 'status' });
  const live = h('div');
  const first = await ask(path);
  main.replaceChildren(h('h1', {}, first.name), mayWrite() ? deliveryForm(first, send) : '', answer, live);
  while (turn === state.turn && state.key) {
    await refresh();
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? 30000 : 5000));
  }

  async function send(below, options, done) {
    try {
      await ask(below, options);
      answer.textContent = done;
    } catch (error) {
      answer.textContent = error.message;
    }
    await refresh();
  }

  async function refresh() {
    try {
      const [now, letters] = await Promise.all([ask(path), ask(`${path}/dead-letters?limit=50`).then((page) => page.items, () => []), link()]);
      if (turn === state.turn) live.replaceChildren(...streamParts(now, letters, send).filter(Boolean));
    } catch (error) {
      answer.textContent = error.message;
    }
  }
}

function streamParts(stream, letters, send) {
  const now = stream.state;
  if (!now) return [h('p', { class: 'soft' }, 'The dataplane cannot be asked how it is going.')];
  if (stream.delivery === 'live' && !now.groups.length) return [h('p', { class: 'soft' }, 'It delivers live: who is connected gets its messages, and nothing is kept.')];
  const path = `streams/${stream.id}`;
  const button = (title, ...request) => h('button', { type: 'button', click: () => send(...request) }, title);
  const seek = (group, to, title) => button(title, `${path}/groups/${encodeURIComponent(group.group)}/seek`, { method: 'POST', body: { to } }, `${group.group} reads on there.`);
  const back = (ids, title) => button(title, `${path}/dead-letters/put-back`, { method: 'POST', body: { ids } }, 'They are delivered again.');
  const groups = [['Group', (x) => h('td', {}, x.group)], ['Sessions', (x) => number(x.sessions)], ['Lag', (x) => h('td', { class: 'number' }, bytes(x.lag_bytes))],
    ['Messages', (x) => number(x.lag_messages)], ['Oldest', (x) => h('td', {}, time(x.oldest))], ['In flight', (x) => number(x.in_flight)],
    ['Again', (x) => number(x.redelivered)], ['Dead letters', (x) => number(x.dead_letters)]];
  const dead = [['When', (x) => h('td', {}, time(x.at))], ['Group', (x) => h('td', {}, x.group)], ['Attempts', (x) => number(x.attempts)],
    ['Reason', (x) => h('td', { class: 'wrap' }, x.reason)], ['Message', (x) => h('td', { class: 'mono wrap' }, x.message)]];
  if (mayWrite()) {
    groups.push(['', (x) => h('td', {}, seek(x, 'earliest', 'From the oldest'), ' ', seek(x, 'latest', 'From now'))]);
    dead.push(['', (x) => h('td', {}, back([x.id], 'Put back'))]);
  }
  return [
    h('div', { class: 'cards' }, card('kept', now.retained_messages.toLocaleString()), card('bytes, of at most', now.retention_bytes ? `${bytes(now.retained_bytes)} / ${bytes(now.retention_bytes)}` : bytes(now.retained_bytes)), card('oldest', time(now.retained_oldest)), card('not stored', now.not_stored.toLocaleString()),
      card('delivered', now.delivered.toLocaleString())),
    h('h2', {}, 'Groups'), now.groups.length ? table(groups, now.groups) : h('p', { class: 'soft' }, 'None yet: the first consumer that opens the stream makes one.'),
    h('h2', {}, 'Dead letters'), letters.length ? table(dead, letters) : h('p', { class: 'soft' }, 'None.'),
    letters.length && mayWrite() ? h('p', {}, back([], 'Put all back')) : null,
  ];
}

// ---- a stream, live

const LIVE_COUNT_MAX = 200;

/** A token of the stream: one that it has, or a new one. */
async function tokenOf(id) {
  const tokens = (await ask(`streams/${id}/tokens`)).items;
  const path = `streams/${id}/tokens`;
  if (tokens.length) return ask(`${path}/${tokens[0].id}`);
  return ask(path, { method: 'POST', body: { name: 'console' } });
}

async function live(main, turn, id) {
  const stream = await ask(`streams/${id}`);
  const { url, token } = await tokenOf(id);
  // Who went on to another page meanwhile wants neither this one nor its connection.
  if (turn !== state.turn) return;
  const target = new URL(url);
  // A server that calls itself localhost is where this page came from.
  if (target.hostname === 'localhost') target.hostname = location.hostname;
  const status = h('span', { class: 'pill wait' }, 'connecting');
  const rows = h('tbody');
  const answer = h('p', { class: 'soft', role: 'status' });
  const field = (name, attributes) => h('input', { name, required: true, spellcheck: 'false', ...attributes });
  const form = h('form', { class: 'row card', submit: send },
    h('label', {}, 'DeviceEUI', field('DeviceEUI', { pattern: '[0-9A-Fa-f]{16}', class: 'mono', size: '18' })),
    h('label', {}, 'Port', field('Port', { type: 'number', min: '1', max: '223', value: '1' })),
    h('label', {}, 'Data (hex)', field('Data', { pattern: '([0-9A-Fa-f]{2})*', class: 'mono', required: false })),
    h('label', {}, 'Type', h('select', { name: 'Type' }, h('option', { value: '3' }, 'unconfirmed'), h('option', { value: '5' }, 'confirmed'))),
    h('button', { class: 'main' }, 'Send downlink'));
  main.replaceChildren(h('h1', {}, stream.name, ' ', status), stream.downlinks ? form : '', answer,
    h('div', { class: 'card scroll' }, h('table', {}, h('thead', {}, h('tr', {}, ['When', 'What', 'Device', 'Port', 'Data', 'RSSI', 'SNR', 'Gateway'].map((title) => h('th', {}, title)))), rows)));

  const socket = new WebSocket(target);
  const say = (kind, text) => { status.className = `pill ${kind}`; status.textContent = text; };
  socket.onopen = () => say('good', 'live');
  socket.onclose = (event) => {
    say('bad', event.code === 1006 ? 'cannot connect' : `closed (${event.code})`);
    if (event.code === 1006) {
      const certificate = new URL(target);
      certificate.protocol = 'https:';
      certificate.search = '';
      answer.replaceChildren('If the certificate is self-signed, ', h('a', { href: certificate, target: '_blank', rel: 'noopener' }, 'accept it first'), ', then come back.');
    }
  };
  socket.onmessage = (event) => message(event.data);
  state.stop = () => { socket.onclose = null; socket.close(1000); state.stop = () => {}; };

  function send(event) {
    event.preventDefault();
    const values = Object.fromEntries(new FormData(form));
    socket.send(JSON.stringify({ ...values, Type: Number(values.Type), Port: Number(values.Port) }));
    answer.textContent = 'Sent …';
  }

  function message(text) {
    let value = {};
    try { value = JSON.parse(text); } catch { /* another format: shown as it is */ }
    if (value.Event === 'accepted' || value.Event === 'error' || value.Error) answer.textContent = text;
    const input = form.elements.DeviceEUI;
    if (value.DeviceEUI && !input.value) input.value = value.DeviceEUI;
    const known = value.DeviceEUI || value.Gateway;
    const cells = known
      ? [h('td', {}, new Date().toLocaleTimeString()), h('td', {}, (value.Event ?? 'uplink').replaceAll('_', ' ')), mono(value.DeviceEUI), number(value.Port),
        h('td', { class: 'mono wrap' }, value.Data ?? ''), number(value.RSSI), number(value.SNR), mono(value.Gateway)]
      : [h('td', {}, new Date().toLocaleTimeString()), h('td', { class: 'mono wrap', colspan: '7' }, text)];
    rows.prepend(h('tr', { title: text }, cells));
    while (rows.children.length > LIVE_COUNT_MAX) rows.lastElementChild.remove();
  }
}

// ---- from page to page

async function show() {
  if (!state.key || !state.me) return;
  state.stop();
  const turn = (state.turn += 1);
  const [name = 'overview', argument] = location.hash.slice(1).split('/').map(decodeURIComponent);
  const main = $('main');
  const current = ['live', 'stream'].includes(name) ? 'streams' : name || 'overview';
  $('nav').replaceChildren(...Object.entries(pages).map(([path, page]) => h('a', { href: `#${path}`, class: path === current ? 'on' : undefined }, page.title)));
  const fail = (error) => main.replaceChildren(h('p', { class: 'bad', role: 'alert' }, error.message));
  const late = (error) => { if (turn === state.turn) fail(error); };
  if (name === 'live') return live(main, turn, argument).catch(late);
  if (name === 'stream') return stream(main, argument).catch(late);
  const page = pages[current] ?? pages.overview;
  while (turn === state.turn && state.key) {
    try {
      const parts = await page.show(main, turn, argument);
      if (turn === state.turn) main.replaceChildren(...parts.filter(Boolean));
    } catch (error) {
      if (turn === state.turn) fail(error);
    }
    await new Promise((resolve) => setTimeout(resolve, document.hidden ? 30000 : page.every));
  }
}

window.addEventListener('hashchange', show);
if (state.key) signIn();
else signOut();
