// The listing of a folder.

import { $, date, icon, iconButton, make, size } from "./dom.js";
import { call, gateway, json } from "./gateway.js";
import { ask } from "./dialog.js";
import { calm, complain, offerUndo } from "./messages.js";
import { download } from "./transfers.js";

const PAGE = 100;
/// The largest page that Box returns.
const MOST = 1000;

/// The folder shown. `picture` is the URL of its first picture.
export const folder = { id: "0", shown: 0, total: 0, picture: null };
const here = () => location.hash.match(/^#folder-(\d+)$/)?.[1] ?? "0";

let opening = 0;

/// Shows the current content of the folder in the address.
export const open = async () => {
  const [id, turn] = [here(), ++opening];
  try {
    const [about, items] = await Promise.all([
      call(`/2.0/folders/${id}?fields=name,path_collection`).then((answer) => answer.json()),
      page(id, 0, id === folder.id ? Math.min(Math.max(folder.shown, PAGE), MOST) : PAGE),
    ]);
    // A later call shows newer content.
    if (turn !== opening) return;
    calm("listing");
    keepingFocus(id, () => {
      Object.assign(folder, { id, shown: 0, total: items.total_count, picture: null });
      crumbs(about);
      $("rows").replaceChildren();
      show(items);
    });
  } catch (error) {
    if (turn !== opening) return;
    const isShown = $("crumbs").children.length > 0;
    if (isShown && id !== folder.id) {
      // The previous folder is still shown.
      history.replaceState(null, "", `#folder-${folder.id}`);
      return complain(error, "listing", () => (location.hash = `#folder-${id}`));
    }
    // There must be a way out of a deleted folder.
    if (!isShown) $("crumbs").append(crumb({ id: "0" }));
    complain(error, "listing", open);
  }
};

export const page = (id, offset, limit = PAGE) =>
  call(`/2.0/folders/${id}/items?fields=name,size,modified_at,url&limit=${limit}&offset=${offset}`).then((a) => a.json());

const nameOf = ({ id, name }) => (id === "0" ? "All files" : name);
const crumb = (above) => make("li", {}, make("a", { href: `#folder-${above.id}`, textContent: nameOf(above) }));

const crumbs = (about) => {
  const last = make("li", { textContent: nameOf(about) });
  last.setAttribute("aria-current", "page");
  $("crumbs").replaceChildren(...(about.path_collection?.entries ?? []).map(crumb), last);
  document.title = `${last.textContent} · boxgate sandbox`;
};

const show = (items) => {
  folder.shown += items.entries.length;
  folder.total = items.total_count;
  $("rows").append(...items.entries.map(row));
  $("list").hidden = folder.total === 0;
  $("empty").hidden = folder.total > 0;
  $("more").hidden = folder.shown >= folder.total;
  const count = folder.total === 1 ? "1 item" : `${folder.total} items`;
  $("count").textContent = folder.total ? (folder.shown < folder.total ? `${folder.shown} of ${count}` : count) : "";
};

$("more").onclick = async () => {
  try {
    const items = await page(folder.id, folder.shown);
    calm("listing");
    show(items);
    // After "Show more", the focus moves to the first new item.
    focusItem(items.entries[0]?.id);
  } catch (error) {
    complain(error, "listing");
  }
};

// ---- The focus ---------------------------------------------------------------------------------------------------

const rowOf = (id) => [...$("rows").children].find((row) => row.dataset.item === id);
const control = (row, name) =>
  row?.querySelector(`[data-control=${name}]:is(a[href], button)`) ?? row?.querySelector("a[href], button");

/// Puts the focus on an item's name, if the item is shown.
export const focusItem = (id) => control(rowOf(id), "name")?.focus();

/// Renders the listing. If the focus was in it, it stays: on the same item; if that is gone, on the next one; in
/// another folder, on the folder that was left, else on the first item.
const keepingFocus = (id, draw) => {
  const [held, from] = [document.activeElement, folder.id];
  const [wasHere, row] = [$("files").contains(held), held?.closest("#rows tr")];
  const index = row ? [...$("rows").children].indexOf(row) : 0;
  draw();
  if (!wasHere || (held.isConnected && held.checkVisibility())) return;
  const rows = $("rows").children;
  if (id === from) {
    const next = rowOf(row?.dataset.item) ?? rows[Math.min(index, rows.length - 1)];
    (control(next, held.dataset.control ?? "name") ?? $("empty")).focus();
  } else {
    (control(rowOf(from) ?? rows[0], "name") ?? $("empty")).focus();
  }
};

// ---- Its rows ----------------------------------------------------------------------------------------------------

const row = (item) => {
  const changed = date(item.modified_at);
  const bytes = item.type === "file" ? size(item.size) : "";
  const detail = bytes ? `${bytes} · ${changed}` : changed;
  const label = make("span", {}, nameLink(item), make("small", { textContent: detail }));
  const actions = make("td", {});
  if (item.type === "file") actions.append(action("download", item, () => download(item)));
  actions.append(action("delete", item, () => remove(item)));
  const row = make(
    "tr",
    {},
    make("td", {}, make("div", { className: "name" }, thumbnail(item), label)),
    make("td", { className: "size", textContent: bytes }),
    make("td", { className: "date", textContent: changed }),
    actions,
  );
  row.dataset.item = item.id;
  return row;
};

const action = (name, item, onclick) => {
  const button = iconButton(name, `${name === "download" ? "Download" : "Delete"} ${item.name}`, onclick);
  button.dataset.control = name;
  return button;
};

/// A folder is entered, a file downloaded, a web link followed.
const nameLink = (item) => {
  const link = make("a", { textContent: item.name });
  link.dataset.control = "name";
  if (item.type === "folder") link.href = `#folder-${item.id}`;
  if (item.type === "file") {
    // The link is the file's URL, to be copied or opened in another tab. A plain click downloads with progress and
    // stays on this page if there is an error.
    link.href = `${gateway}/2.0/files/${item.id}/content`;
    link.onclick = (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      download(item);
    };
  }
  // The URL is untrusted: it must not run a script here.
  if (item.type === "web_link" && /^https?:\/\//i.test(item.url)) {
    Object.assign(link, { href: item.url, target: "_blank", rel: "noopener noreferrer" });
  }
  return link;
};

const picture = (item) =>
  // A small picture is its own thumbnail.
  `${gateway}/2.0/files/${item.id}/` + (item.size <= 200_000 ? "content" : "thumbnail.png?min_height=94&min_width=94");

const thumbnail = (item) => {
  const isFolder = item.type === "folder";
  const symbol = { folder: "folder", web_link: "link" }[item.type] ?? "file";
  const place = make("span", { className: isFolder ? "thumb of-folder" : "thumb" }, icon(symbol));
  if (item.type !== "file" || !/\.(png|jpe?g|gif|webp)$/i.test(item.name)) return place;
  folder.picture ??= picture(item);
  const image = make("img", { className: "thumb", alt: "", loading: "lazy", src: picture(item) });
  image.onerror = () => image.replaceWith(place);
  return image;
};

// ---- What changes it ---------------------------------------------------------------------------------------------

const remove = async (item) => {
  const kind = { folder: "folder", web_link: "web link" }[item.type] ?? "file";
  const what = kind === "folder" ? `“${item.name}” and everything in it goes` : `“${item.name}” goes`;
  const path = `/2.0/${item.type}s/${item.id}`;
  const gone = await ask({
    title: `Delete this ${kind}?`,
    text: `${what} to the trash.`,
    label: "Delete",
    act: (_, signal) => call(kind === "folder" ? `${path}?recursive=true` : path, { method: "DELETE", signal }),
  });
  // If the dialog was closed during the operation, its result is shown in the page.
  if (!gone) return open();
  offerUndo(`“${item.name}” is in the trash.`, async () => {
    try {
      await call(path, json("POST", {}));
      calm("undo");
    } catch (error) {
      complain(error, "undo");
    }
    await open();
    focusItem(item.id);
  });
  await open();
};

$("new-folder").onclick = async () => {
  const parent = folder.id;
  const made = await ask({
    title: "New folder",
    label: "Create",
    wantsName: true,
    act: async (name, signal) =>
      (await call("/2.0/folders", { ...json("POST", { name, parent: { id: parent } }), signal })).json(),
  });
  if (!made) return open();
  await open();
  focusItem(made.id);
};
