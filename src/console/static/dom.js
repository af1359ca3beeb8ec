// Small helpers for the page. Text is only ever set as text, so nothing that the broker says can become markup.

/** Makes an element: `h("td", {class: "number"}, "12")`. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") element.addEventListener("click", value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const by = (id) => document.getElementById(id);

/** Sets an element's text only if it differs, so that screen readers hear of changes alone. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Brings the children of `parent` in line with `items`: one element a key, made once and updated in place, so that focus and
 * selection stay where they are.
 */
export function keyed(parent, items, key, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let before = null;
  for (const item of items) {
    const id = String(key(item));
    let child = known.get(id);
    if (!child) {
      child = make(item);
      child.dataset.key = id;
    }
    known.delete(id);
    update(child, item);
    const place = before ? before.nextSibling : parent.firstChild;
    if (child !== place) parent.insertBefore(child, place);
    before = child;
  }
  for (const child of known.values()) child.remove();
}

/** A table that stays while its rows change. Columns: `[title, "number"?]`. */
export function table(parent, caption, columns) {
  let body = parent.querySelector("tbody");
  if (!body) {
    body = h("tbody");
    const heads = columns.map(([title, kind]) => h("th", { scope: "col", class: kind }, title));
    parent.replaceChildren(h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, ...heads)), body));
  }
  return body;
}

/** A row with one empty cell for each column, labelled for narrow screens. */
export function row(columns) {
  return h("tr", {}, ...columns.map(([title, kind]) => h("td", { class: kind, "data-label": title })));
}

/** Shows a short message for a while. */
export function toast(text) {
  const element = by("said");
  element.hidden = false;
  say(element, text);
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => { element.hidden = true; }, 6000);
}

/** Asks before something is done; resolves to whether to do it. */
export function confirmed(title, text, yes) {
  const dialog = by("confirm");
  say(by("confirm-title"), title);
  say(by("confirm-text"), text);
  say(by("confirm-yes"), yes);
  return new Promise((resolve) => {
    const end = (answer) => () => { dialog.close(answer); };
    by("confirm-yes").onclick = end("yes");
    by("confirm-no").onclick = end("no");
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.returnValue = "no";
    dialog.showModal();
  });
}
