// The sandbox's page: a folder of Box through the gateway, and what a page that is not listed gets.

const gateway = document.querySelector("meta[name=gateway]").content;
const $ = (id) => document.getElementById(id);

/// Box takes larger files in parts only, or better so.
const WHOLE = 20_000_000;
const PAGE = 100;

const make = (name, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
};

const icon = (name) => {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", "#" + name);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
};

const size = (bytes) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  for (; bytes >= 999.5 && unit < units.length - 1; unit++) bytes /= 1000;
  return `${bytes < 10 && unit ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
};

const clock = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });
const date = (text) => (text ? clock.format(new Date(text)) : "");

// ---- The gateway -------------------------------------------------------------------------------------------------

class Failure extends Error {
  constructor(status, body, retryAfter) {
    super(body?.message || `The gateway answered with ${status}.`);
    Object.assign(this, { status, code: body?.code ?? "", request: body?.request_id ?? "", retryAfter });
  }
}

const failure = (status, text, retryAfter) => {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = undefined;
  }
  return new Failure(status, body, Number(retryAfter) || undefined);
};

const call = async (path, options) => {
  const answer = await fetch(path.startsWith("http") ? path : gateway + path, options);
  if (answer.ok) return answer;
  throw failure(answer.status, await answer.text(), answer.headers.get("Retry-After"));
};

const json = (method, body, headers) => ({
  method,
  headers: { "Content-Type": "application/json", ...headers },
  body: JSON.stringify(body),
});

const words = (error) => {
  if (!(error instanceof Failure)) {
    return error instanceof TypeError
      ? ["The gateway cannot be reached", "Is the sandbox still running? A page that is not listed sees the same."]
      : ["That did not work", String(error.message || error)];
  }
  const title = {
    403: "Not allowed",
    404: "Not found",
    409: "The name is taken",
    412: "It has changed meanwhile",
    429: "Too many requests",
    502: "Box did not answer as it should",
    503: "Not available at the moment",
    504: "Box did not answer in time",
  }[error.status];
  const about = error.request ? ` (${error.code}, request ${error.request})` : "";
  return [title ?? `Error ${error.status}`, error.message + about];
};

let counting;
const complain = (error, again) => {
  clearInterval(counting);
  const [title, text] = words(error);
  const [heading, line] = [$("notice").querySelector("strong"), $("notice").querySelector("p")];
  heading.textContent = title;
  line.textContent = text;
  $("notice").hidden = false;
  $("again").hidden = !again;
  $("again").onclick = () => {
    calm();
    again();
  };
  let left = error.retryAfter ?? 0;
  const tick = () => {
    $("again").disabled = left > 0;
    $("again").textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left-- <= 0) clearInterval(counting);
  };
  tick();
  if (left >= 0) counting = setInterval(tick, 1000);
};
const calm = () => {
  clearInterval(counting);
  $("notice").hidden = true;
};
$("dismiss").onclick = calm;

// ---- The folder --------------------------------------------------------------------------------------------------

let folder = { id: "0", shown: 0, total: 0, picture: null };
const here = () => location.hash.match(/^#folder-(\d+)$/)?.[1] ?? "0";

const open = async () => {
  const id = here();
  try {
    const [about, items] = await Promise.all([
      call(`/2.0/folders/${id}?fields=name,path_collection`).then((answer) => answer.json()),
      page(id, 0),
    ]);
    if (id !== here()) return;
    folder = { id, shown: 0, total: items.total_count, picture: null };
    crumbs(about);
    $("rows").replaceChildren();
    show(items);
  } catch (error) {
    complain(error, open);
  }
};

const page = (id, offset) =>
  call(`/2.0/folders/${id}/items?fields=name,size,modified_at&limit=${PAGE}&offset=${offset}`).then((a) => a.json());

const crumbs = (about) => {
  const above = (about.path_collection?.entries ?? []).map(({ id, name }) =>
    make("li", {}, make("a", { href: `#folder-${id}`, textContent: id === "0" ? "All files" : name })),
  );
  const last = make("li", { textContent: about.id === "0" ? "All files" : about.name });
  last.setAttribute("aria-current", "page");
  $("crumbs").replaceChildren(...above, last);
  document.title = `${last.textContent} · boxgate sandbox`;
};

const show = (items) => {
  folder.shown += items.entries.length;
  folder.total = items.total_count;
  $("rows").append(...items.entries.map(row));
  $("list").hidden = folder.total === 0;
  $("empty").hidden = folder.total > 0;
  $("more").hidden = folder.shown >= folder.total;
  const items_ = folder.total === 1 ? "1 item" : `${folder.total} items`;
  $("count").textContent = folder.total ? (folder.shown < folder.total ? `${folder.shown} of ${items_}` : items_) : "";
};

$("more").onclick = async () => {
  try {
    show(await page(folder.id, folder.shown));
  } catch (error) {
    complain(error);
  }
};

const row = (item) => {
  const isFolder = item.type === "folder";
  const changed = date(item.modified_at);
  const detail = isFolder ? changed : `${size(item.size)} · ${changed}`;
  const name = isFolder
    ? make("a", { href: `#folder-${item.id}`, textContent: item.name })
    : make("span", { textContent: item.name });
  const label = make("span", {}, name, make("small", { textContent: detail }));
  const actions = make("td", {});
  if (!isFolder) actions.append(action("download", `Download ${item.name}`, () => download(item)));
  actions.append(action("delete", `Delete ${item.name}`, () => remove(item)));
  return make(
    "tr",
    {},
    make("td", {}, make("div", { className: "name" }, thumbnail(item, isFolder), label)),
    make("td", { className: "size", textContent: isFolder ? "" : size(item.size) }),
    make("td", { className: "date", textContent: changed }),
    actions,
  );
};

const action = (name, title, onclick) => {
  const button = make("button", { type: "button", className: "icon", title, onclick }, icon(name));
  button.setAttribute("aria-label", title);
  return button;
};

const picture = (item) =>
  // A small picture is its own thumbnail.
  `${gateway}/2.0/files/${item.id}/` + (item.size <= 200_000 ? "content" : "thumbnail.png?min_height=94&min_width=94");

const thumbnail = (item, isFolder) => {
  const place = make("span", { className: isFolder ? "thumb of-folder" : "thumb" }, icon(isFolder ? "folder" : "file"));
  if (isFolder || !/\.(png|jpe?g|gif|webp)$/i.test(item.name)) return place;
  folder.picture ??= picture(item);
  const image = make("img", { className: "thumb", alt: "", loading: "lazy", src: picture(item) });
  image.onerror = () => image.replaceWith(place);
  return image;
};

const remove = async (item) => {
  const isFolder = item.type === "folder";
  const text = isFolder ? `“${item.name}” and everything in it will be gone.` : `“${item.name}” will be gone.`;
  if (!(await ask(isFolder ? "Delete this folder?" : "Delete this file?", text, "Delete"))) return;
  try {
    await call(isFolder ? `/2.0/folders/${item.id}?recursive=true` : `/2.0/files/${item.id}`, { method: "DELETE" });
    calm();
  } catch (error) {
    complain(error);
  }
  await open();
  $("files").focus({ preventScroll: true });
};

$("new-folder").onclick = async () => {
  const name = await ask("New folder", "", "Create", true);
  if (!name) return;
  try {
    await call("/2.0/folders", json("POST", { name, parent: { id: folder.id } }));
    calm();
  } catch (error) {
    complain(error);
  }
  await open();
};

/// Asks for a name, or for a yes; gives null on a no.
const ask = (title, text, yes, wantsName = false) =>
  new Promise((resolve) => {
    $("ask-title").textContent = title;
    $("ask-text").textContent = text;
    $("ask-text").hidden = !text;
    $("ask-yes").textContent = yes;
    $("ask-label").hidden = !wantsName;
    $("ask-input").value = "";
    $("ask-input").required = wantsName;
    $("ask").returnValue = "";
    $("ask").onclose = () => {
      const said = $("ask").returnValue === "yes";
      resolve(said ? (wantsName ? $("ask-input").value.trim() : true) : null);
    };
    $("ask").showModal();
    if (wantsName) $("ask-input").focus();
  });
$("ask-no").onclick = () => $("ask").close("");

// ---- Transfers ---------------------------------------------------------------------------------------------------

class Transfer {
  constructor(name, kind, total) {
    this.total = total;
    this.stop = new AbortController();
    this.bar = make("progress", { max: total || 1, value: 0 });
    this.bar.setAttribute("aria-label", name);
    this.state = make("span", { className: "state", textContent: "Waiting…" });
    this.cancel = action("close", `Cancel ${name}`, () => this.stop.abort());
    const what = make("span", { className: "what" }, icon(kind), make("span", { textContent: name }));
    this.item = make("li", {}, what, this.cancel, this.bar, this.state);
    $("transfer-list").prepend(this.item);
    $("transfers").hidden = false;
  }

  at(bytes, doing) {
    this.bar.value = bytes;
    const share = this.total ? `${Math.floor((100 * bytes) / this.total)} % · ` : "";
    this.state.textContent = `${share}${size(bytes)} of ${size(this.total)}${doing ? ` · ${doing}` : ""}`;
  }

  end(state, text) {
    this.item.className = state;
    this.state.textContent = text;
    this.cancel.remove();
  }

  fail(error) {
    if (this.stop.signal.aborted) return this.end("failed", "Cancelled");
    const [title, text] = words(error);
    const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    this.end("failed", `${title}: ${text}${wait}`);
  }
}

$("clear").onclick = () => {
  for (const item of $("transfer-list").querySelectorAll(".done, .failed")) item.remove();
  $("transfers").hidden = !$("transfer-list").children.length;
};

/// fetch() does not tell how much of a body has gone out; XMLHttpRequest does.
const send = (method, path, headers, body, signal, progress) =>
  new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(method, path.startsWith("http") ? path : gateway + path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded }) => progress(loaded);
    request.onerror = () => reject(new TypeError("network"));
    request.onabort = () => reject(signal.reason);
    request.onload = () => {
      if (request.status < 300) return resolve(JSON.parse(request.responseText || "null"));
      reject(failure(request.status, request.responseText, request.getResponseHeader("Retry-After")));
    };
    signal.throwIfAborted();
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(body);
  });

const whole = (file, into, transfer) => {
  const form = new FormData();
  form.append("attributes", JSON.stringify({ name: file.name, parent: { id: into } }));
  form.append("file", file, file.name);
  const progress = (bytes) => transfer.at(Math.min(bytes, file.size));
  return send("POST", "/2.0/files/content", {}, form, transfer.stop.signal, progress);
};

const sha1 = async (blob) => {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-1", await blob.arrayBuffer()));
  return "sha=" + btoa(String.fromCharCode(...digest));
};

/// An upload session: parts to where the session says, each with its own SHA-1, then the commit.
const inParts = async (file, into, transfer) => {
  const { signal } = transfer.stop;
  const about = { folder_id: into, file_size: file.size, file_name: file.name };
  const session = await (await call("/2.0/files/upload_sessions", { ...json("POST", about), signal })).json();
  const { upload_part, commit, abort } = session.session_endpoints;
  try {
    const parts = [];
    for (let first = 0; first < file.size; first += session.part_size) {
      const part = file.slice(first, first + session.part_size);
      const headers = {
        "Content-Type": "application/octet-stream",
        "Content-Range": `bytes ${first}-${first + part.size - 1}/${file.size}`,
        "Digest": await sha1(part),
      };
      const progress = (bytes) => transfer.at(first + Math.min(bytes, part.size), "in parts");
      parts.push((await send("PUT", upload_part, headers, part, signal, progress)).part);
    }
    transfer.at(file.size, "putting the parts together");
    const digest = { Digest: await sha1(file) };
    for (;;) {
      const answer = await call(commit, { ...json("POST", { parts }, digest), signal });
      if (answer.status !== 202) return;
      const seconds = Number(answer.headers.get("Retry-After")) || 1;
      await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
    }
  } catch (error) {
    call(abort, { method: "DELETE" }).catch(() => {});
    throw error;
  }
};

const upload = async (files) => {
  const into = folder.id;
  const waiting = [...files].map((file) => [file, new Transfer(file.name, "upload", file.size)]);
  const next = async () => {
    for (let job; (job = waiting.shift()); ) {
      const [file, transfer] = job;
      try {
        transfer.stop.signal.throwIfAborted();
        await (file.size > WHOLE ? inParts : whole)(file, into, transfer);
        transfer.end("done", `Uploaded · ${size(file.size)}`);
        if (into === folder.id) await open();
      } catch (error) {
        transfer.fail(error);
      }
    }
  };
  await Promise.all([next(), next()]);
};

const download = async (item) => {
  const transfer = new Transfer(item.name, "download", item.size);
  try {
    const answer = await call(`/2.0/files/${item.id}/content`, { signal: transfer.stop.signal });
    const [reader, pieces] = [answer.body.getReader(), []];
    for (let bytes = 0; ; ) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      transfer.at((bytes += value.length));
    }
    const href = URL.createObjectURL(new Blob(pieces, { type: "application/octet-stream" }));
    make("a", { href, download: item.name }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60_000);
    transfer.end("done", `Downloaded · ${size(item.size)}`);
  } catch (error) {
    transfer.fail(error);
  }
};

$("choose").onclick = () => $("chosen").click();
$("chosen").onchange = () => {
  upload($("chosen").files);
  $("chosen").value = "";
};

const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragover", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  $("drop").hidden = false;
});
addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) $("drop").hidden = true;
});
addEventListener("drop", (event) => {
  if (!carriesFiles(event)) return;
  event.preventDefault();
  $("drop").hidden = true;
  upload(event.dataTransfer.files);
});

// ---- Examples ----------------------------------------------------------------------------------------------------

const painted = (name, from, to) =>
  new Promise((resolve) => {
    const canvas = make("canvas", { width: 320, height: 240 });
    const pen = canvas.getContext("2d");
    const sky = pen.createLinearGradient(0, 0, 0, 240);
    sky.addColorStop(0, from);
    sky.addColorStop(1, to);
    pen.fillStyle = sky;
    pen.fillRect(0, 0, 320, 240);
    pen.fillStyle = "#ffffffcc";
    pen.beginPath();
    pen.arc(220, 90, 34, 0, 7);
    pen.fill();
    pen.fillStyle = "#0003";
    pen.beginPath();
    pen.moveTo(0, 240);
    pen.lineTo(110, 120);
    pen.lineTo(190, 200);
    pen.lineTo(240, 150);
    pen.lineTo(320, 240);
    pen.fill();
    canvas.toBlob((blob) => resolve(new File([blob], name)), "image/png");
  });

$("examples").onclick = async () => {
  $("examples").disabled = true;
  try {
    for (const name of ["Contracts", "Pictures"]) {
      await call("/2.0/folders", json("POST", { name, parent: { id: folder.id } }));
    }
    const text = "Everything on this page came through boxgate.\n";
    await upload([
      await painted("Morning.png", "#5b7fe0", "#f6c9a8"),
      await painted("Evening.png", "#40306b", "#e58a7b"),
      new File([text], "Read me first.txt", { type: "text/plain" }),
    ]);
  } catch (error) {
    complain(error);
  }
  $("examples").disabled = false;
  await open();
};

// ---- A stranger --------------------------------------------------------------------------------------------------

const ATTEMPTS = { fetch: "fetch /2.0/users/me", image: "<img> of a stored picture", post: "POST a new folder" };

const tell = (list, attempt, kind, mark, said) => {
  const line = make("li", { className: kind }, make("span", { className: "mark", textContent: mark }));
  line.append(make("code", { textContent: ATTEMPTS[attempt] }), make("span", { className: "said", textContent: said }));
  list.append(line);
};

const shows = (source) =>
  new Promise((resolve) => {
    const image = make("img", { src: source });
    image.onload = () => resolve(true);
    image.onerror = () => resolve(false);
  });

const folders = async (name) => {
  const { entries } = await page("0", 0);
  return entries.filter((item) => item.name === name);
};

const tryHere = async (image, name) => {
  const list = $("tries-here");
  const me = await (await call("/2.0/users/me")).json();
  tell(list, "fetch", "good", "read", `It says who you are: ${me.name}.`);
  if (image && (await shows(image))) tell(list, "image", "good", "shown", "The picture was shown.");
  const made = await (await call("/2.0/folders", json("POST", { name, parent: { id: "0" } }))).json();
  await call(`/2.0/folders/${made.id}`, { method: "DELETE" });
  tell(list, "post", "good", "made", "The folder was made, and deleted again.");
};

const tryThere = (image, name) =>
  new Promise((resolve, reject) => {
    const frame = make("iframe", { src: "stranger", title: "a stranger", tabIndex: -1 });
    frame.setAttribute("sandbox", "allow-scripts");
    let read = false;
    const end = (settle, value) => {
      removeEventListener("message", hear);
      clearTimeout(late);
      frame.remove();
      settle(value);
    };
    const late = setTimeout(() => end(reject, new Error("The stranger did not answer.")), 20_000);
    const hear = ({ source, data }) => {
      if (source !== frame.contentWindow) return;
      if (data.attempt === "ready") {
        const body = { name, parent: { id: "0" } };
        source.postMessage({ gateway, image, folder: body }, "*");
      } else if (data.attempt === "end") {
        end(resolve, read);
      } else {
        read ||= data.read;
        tell($("tries-there"), data.attempt, data.read ? "good" : "bad", data.read ? "read" : "refused", data.said);
      }
    };
    addEventListener("message", hear);
    document.body.append(frame);
  });

$("try").onclick = async () => {
  $("try").disabled = true;
  $("tries-here").replaceChildren();
  $("tries-there").replaceChildren();
  $("verdict").textContent = "";
  const mark = Date.now().toString(36);
  try {
    await tryHere(folder.picture, `By this page ${mark}`);
    const name = `By a stranger ${mark}`;
    const read = await tryThere(folder.picture, name);
    const made = (await folders(name)).length > 0;
    $("verdict").className = read || made ? "verdict bad" : "verdict";
    $("verdict").textContent =
      read || made
        ? "The stranger got through. That must not happen: please report it."
        : "The stranger read nothing, and Box has no folder of its making.";
  } catch (error) {
    complain(error);
  }
  $("try").disabled = false;
};

// ---- The rest ----------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll(".copy")) {
  button.onclick = async () => {
    await navigator.clipboard.writeText($(button.dataset.copies).textContent.trim());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  };
}

const whoami = async () => {
  try {
    const me = await (await call("/2.0/users/me")).json();
    const login = make("span", { className: "faint", textContent: me.login, title: me.login });
    $("who").replaceChildren(make("b", { textContent: `Acting as ${me.name}` }), login);
  } catch (error) {
    $("who").replaceChildren(make("span", { className: "faint", textContent: "Nobody knows who you are" }));
  }
};

$("own-origin").textContent = location.origin;
for (const attempt of Object.keys(ATTEMPTS)) {
  tell($("tries-here"), attempt, "", "not tried", "");
  tell($("tries-there"), attempt, "", "not tried", "");
}
addEventListener("hashchange", open);
whoami();
open();
