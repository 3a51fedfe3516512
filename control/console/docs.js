// The reference: the OpenAPI document as a page. Everything that is shown goes in as text, never as markup.
'use strict';

function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

let root;

/** What a reference leads to; everything else is itself. */
function resolve(value) {
  if (!value?.$ref) return value;
  return value.$ref.slice(2).split('/').reduce((at, part) => at?.[part.replaceAll('~1', '/').replaceAll('~0', '~')], root);
}

/** A type in words. */
function type(schema) {
  if (!schema) return '';
  if (schema.$ref) return type(resolve(schema));
  const parts = schema.oneOf ?? schema.anyOf;
  if (parts) return parts.map(type).filter((text, index, all) => all.indexOf(text) === index).join(' or ');
  if (schema.type === 'array') return `array of ${type(schema.items)}`;
  const types = [schema.type ?? 'object'].flat();
  if (types.includes('array')) return `array of ${type(schema.items)} or null`;
  return types.join(' or ');
}

/** Fields of a schema, those of its parts included. */
function fields(schema, path = '', depth = 0) {
  const resolved = resolve(schema) ?? {};
  const out = [];
  for (const part of resolved.allOf ?? []) out.push(...fields(part, path, depth));
  for (const part of resolved.oneOf ?? []) if (resolve(part)?.type !== 'null') out.push(...fields(part, path, depth));
  for (const [name, field] of Object.entries(resolved.properties ?? {})) {
    const own = path + name;
    const description = field.description ?? resolve(field)?.description ?? '';
    out.push({ name: own, type: type(field), description, required: resolved.required?.includes(name) ?? false });
    if (depth < 3) {
      out.push(...fields(field, `${own}.`, depth + 1));
      const items = resolve(field)?.items;
      if (items) out.push(...fields(items, `${own}[].`, depth + 1));
    }
  }
  return out;
}

function table(head, rows) {
  return h('div', { class: 'scroll' }, h('table', {},
    h('thead', {}, h('tr', {}, head.map((title) => h('th', {}, title)))),
    h('tbody', {}, rows.map((cells) => h('tr', {}, cells.map((cell, index) => h('td', { class: index === 0 ? 'mono' : index === cells.length - 1 ? 'wrap' : undefined }, cell)))))));
}

function body(title, content) {
  return Object.entries(content ?? {}).map(([kind, { schema }]) => {
    const rows = fields(schema).map((field) => [field.name, field.type, field.required ? 'required' : '', field.description]);
    return [h('h2', {}, `${title} `, h('span', { class: 'soft' }, kind)), rows.length ? table(['Field', 'Type', '', ''], rows) : h('p', { class: 'soft' }, type(schema))];
  });
}

function operation(path, method, about) {
  const parameters = (about.parameters ?? []).map((parameter) => [parameter.name, parameter.in, parameter.required ? 'required' : '', parameter.description ?? '']);
  const responses = Object.entries(about.responses).map(([status, response]) => [status, resolve(response).description ?? '']);
  const success = Object.entries(about.responses).find(([status]) => status.startsWith('2'))?.[1];
  return h('details', { id: about.operationId },
    h('summary', {}, h('span', { class: 'method' }, method), h('code', {}, path), h('span', { class: 'soft' }, about.summary ?? '')),
    about.description ? h('p', {}, about.description) : null,
    parameters.length ? [h('h2', {}, 'Parameters'), table(['Name', 'In', '', ''], parameters)] : null,
    body('Body', about.requestBody?.content),
    h('h2', {}, 'Answers'), table(['Status', ''], responses),
    body('Answer', resolve(success)?.content));
}

async function start() {
  root = await (await fetch('/api/v1/openapi.json')).json();
  const byTag = new Map((root.tags ?? []).map((tag) => [tag.name, { about: tag.description, operations: [] }]));
  for (const [path, methods] of Object.entries(root.paths)) {
    for (const [method, about] of Object.entries(methods)) byTag.get(about.tags?.[0])?.operations.push(operation(path, method, about));
  }
  document.getElementById('nav').append(...[...byTag.keys()].map((name) => h('a', { href: `#${name}` }, name)));
  document.getElementById('main').replaceChildren(
    h('h1', {}, `${root.info.title} ${root.info.version}`),
    h('p', {}, root.info.description),
    h('p', { class: 'soft' }, 'Every request carries an API key: Authorization: Bearer KEY.'),
    ...[...byTag].flatMap(([name, { about, operations }]) => [h('h2', { id: name }, name, ' ', h('span', { class: 'soft' }, about)), h('div', { class: 'card' }, operations)]));
  const open = document.getElementById(location.hash.slice(1));
  if (open?.tagName === 'DETAILS') open.open = true;
  open?.scrollIntoView();
}

start().catch((error) => document.getElementById('main').replaceChildren(h('p', { class: 'bad' }, error.message)));
