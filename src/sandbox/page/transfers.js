// Uploads and downloads: one line each, with its progress.

import { $, focusIfLost, icon, iconButton, make, size } from "./dom.js";
import { Failure, call, json, send, words } from "./gateway.js";
import { say } from "./messages.js";

/// Larger files are uploaded in parts, as Box requires or recommends.
const WHOLE = 20_000_000;

class Transfer {
  constructor(name, kind, total) {
    this.name = name;
    this.total = total;
    this.bar = make("progress", { max: total || 1, value: 0 });
    this.bar.setAttribute("aria-label", name);
    this.state = make("span", { className: "state" });
    this.actions = make("span", { className: "actions" });
    const what = make("span", { className: "what" }, icon(kind), make("span", { textContent: name }));
    this.item = make("li", { tabIndex: -1 }, what, this.actions, this.bar, this.state);
    $("transfer-list").prepend(this.item);
    $("transfers").hidden = false;
    this.begin();
  }

  begin() {
    this.stop = new AbortController();
    this.item.className = "";
    this.bar.value = 0;
    this.state.textContent = "Waiting…";
    this.offer(iconButton("close", `Cancel ${this.name}`, () => this.stop.abort()));
  }

  at(bytes, doing) {
    this.bar.value = bytes;
    const share = this.total ? `${Math.floor((100 * bytes) / this.total)} % · ` : "";
    this.state.textContent = `${share}${size(bytes)} of ${size(this.total)}${doing ? ` · ${doing}` : ""}`;
  }

  end(state, text) {
    this.item.className = state;
    this.state.textContent = text;
    say(`${this.name}: ${text}`);
    this.offer();
  }

  fail(error) {
    if (this.stop.signal.aborted) return this.end("failed", "Cancelled");
    const [title, text] = words(error);
    const wait = error.retryAfter ? ` Try again in ${error.retryAfter} s.` : "";
    this.end("failed", `${title}: ${text}${wait}`);
  }

  /// Sets the actions that are available now. The focus stays on this transfer.
  offer(...buttons) {
    const held = this.actions.contains(document.activeElement);
    this.actions.replaceChildren(...buttons);
    if (held) (buttons[0] ?? this.item).focus({ preventScroll: true });
  }
}

$("clear").onclick = () => {
  for (const item of $("transfer-list").querySelectorAll(".done, .failed")) item.remove();
  $("transfers").hidden = !$("transfer-list").children.length;
  focusIfLost($("files"));
};

/// A target is a new file in the folder `parent`, or a new version of the file `replaces`, which keeps its name.
const whole = (file, { parent, replaces }, transfer) => {
  const form = new FormData();
  form.append("attributes", JSON.stringify(replaces ? {} : { name: file.name, parent: { id: parent } }));
  form.append("file", file, file.name);
  const progress = (bytes) => transfer.at(Math.min(bytes, file.size));
  const path = replaces ? `/2.0/files/${replaces}/content` : "/2.0/files/content";
  return send("POST", path, {}, form, transfer.stop.signal, progress);
};

const sha1 = async (blob) => {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-1", await blob.arrayBuffer()));
  return "sha=" + btoa(String.fromCharCode(...digest));
};

/// Uploads by a session: parts to the session's URL, each with its own SHA-1, then the commit.
const inParts = async (file, { parent, replaces }, transfer) => {
  const { signal } = transfer.stop;
  const path = replaces ? `/2.0/files/${replaces}/upload_sessions` : "/2.0/files/upload_sessions";
  const about = replaces ? {} : { folder_id: parent, file_name: file.name };
  const begun = await call(path, { ...json("POST", { ...about, file_size: file.size }), signal });
  const session = await begun.json();
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

const transferUp = async (file, target, transfer, uploaded) => {
  try {
    transfer.stop.signal.throwIfAborted();
    await (file.size > WHOLE ? inParts : whole)(file, target, transfer);
  } catch (error) {
    transfer.fail(error);
    const taken = error instanceof Failure && error.code === "item_name_in_use" ? error.conflict : null;
    // A folder cannot become a file.
    if (taken?.type !== "file") return;
    const replace = make("button", { type: "button", className: "quiet", textContent: "Replace" });
    replace.setAttribute("aria-label", `Replace ${taken.name} with a new version`);
    replace.onclick = () => {
      transfer.begin();
      transferUp(file, { replaces: taken.id }, transfer, uploaded);
    };
    return transfer.offer(replace);
  }
  const done = target.replaces ? "Uploaded as a new version" : "Uploaded";
  transfer.end("done", `${done} · ${size(file.size)}`);
  await uploaded();
};

/// Uploads files into a folder, two at a time; `uploaded` is called after each.
export const upload = async (files, parent, uploaded) => {
  const waiting = [...files].map((file) => [file, new Transfer(file.name, "upload", file.size)]);
  const next = async () => {
    for (let job; (job = waiting.shift()); ) await transferUp(job[0], { parent }, job[1], uploaded);
  };
  await Promise.all([next(), next()]);
};

export const download = async (item) => {
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
