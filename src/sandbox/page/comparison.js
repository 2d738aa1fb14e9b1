// Compares what this page can do at the gateway with what an unlisted page can: a frame with the origin `null`.

import { $, isBusy, make, setBusy } from "./dom.js";
import { call, gateway, json } from "./gateway.js";
import { calm, complain } from "./messages.js";
import { folder, page } from "./listing.js";

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
  await call(`/2.0/folders/${made.id}/trash`, { method: "DELETE" });
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
  if (isBusy($("try"))) return;
  setBusy($("try"), true);
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
    calm("comparison");
  } catch (error) {
    complain(error, "comparison");
  }
  setBusy($("try"), false);
};

$("own-origin").textContent = location.origin;
for (const attempt of Object.keys(ATTEMPTS)) {
  tell($("tries-here"), attempt, "", "not tried", "");
  tell($("tries-there"), attempt, "", "not tried", "");
}
