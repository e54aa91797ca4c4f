// Forms in a dialog, and the pieces that they are made of.

import { h, notice, put } from './dom.js';

let made = 0;

/** A field with its label. `control` is an input, a select or a text area. */
export function field(label, control, hint) {
  const id = `field-${++made}`;
  control.id = id;
  if (hint) control.setAttribute('aria-describedby', `${id}-hint`);
  return h('div.field', h('label', { for: id }, label), control, hint && h('span.hint', { id: `${id}-hint` }, hint));
}

export const input = (name, more = {}) => h('input', { name, autocomplete: 'off', spellcheck: 'false', ...more });

export const check = (name, label, checked = false) => h('label.check', h('input', { type: 'checkbox', name, checked }), label);

/** `options` are texts, or pairs of a value and its text. */
export function select(name, options, value, more = {}) {
  const all = options.map(option => Array.isArray(option) ? option : [option, option]);
  return h('select', { name, ...more }, all.map(([key, text]) => h('option', { value: key, selected: key === value }, text)));
}

/** What a form holds, texts trimmed; a file as a File. */
export function values(form) {
  const read = {};
  for (const element of form.elements) {
    if (!element.name) continue;
    if (element.type === 'checkbox') read[element.name] = element.checked;
    else if (element.type === 'radio') { if (element.checked) read[element.name] = element.value; }
    else if (element.type === 'file') read[element.name] = element.files[0];
    else if (element.type === 'password' || element.tagName === 'TEXTAREA') read[element.name] = element.value;
    else read[element.name] = element.value.trim();
  }
  return read;
}

/** What a file holds, as the API takes it: PEM as text, anything else in base64. */
export async function contents(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const text = new TextDecoder().decode(bytes);
  if (text.includes('-----BEGIN')) return text;
  return btoa(Array.from(bytes, byte => String.fromCharCode(byte)).join(''));
}

/**
 * Asks in a dialog. `submit(values)` does the work: what it throws is shown and the dialog stays. Resolves to what
 * `submit` returned, or to undefined if the dialog was left.
 */
export function ask({ title, text, fields = [], label, kind = 'primary', submit, opened }) {
  return new Promise(resolve => {
    const id = `dialog-${++made}`;
    const problem = h('div');
    const button = h(`button.${kind.split(' ').join('.')}`, { type: 'submit' }, label);
    const leave = h('button', { type: 'button', click: () => dialog.close() }, submit ? 'Cancel' : 'Close');
    const form = h('form', { method: 'dialog' }, h('h2', { id }, title), text && h('p.soft', text), fields, problem,
      h('div.ends', leave, submit && button));
    const dialog = h('dialog', { 'aria-labelledby': id }, form);
    let result;
    form.addEventListener('submit', async event => {
      event.preventDefault();
      if (button.disabled) return;
      button.disabled = true;
      button.setAttribute('aria-busy', 'true');
      put(problem);
      try {
        result = await submit(values(form), form);
        dialog.close();
      } catch (error) {
        put(problem, notice('bad', error.message, error.places?.length && h('pre', error.places.join('\n'))));
        problem.scrollIntoView({ block: 'nearest' });
      }
      button.disabled = false;
      button.removeAttribute('aria-busy');
    });
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(result);
    });
    document.body.append(dialog);
    opened?.(form);
    dialog.showModal();
  });
}

/** A question before what cannot be undone. */
export function confirm(title, text, label, submit) {
  return ask({ title, text, label, kind: 'primary danger', submit });
}
