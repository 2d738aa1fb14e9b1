// The sandbox's page: a folder of Box through the gateway, and a comparison with an unlisted page.

import "./comparison.js";
import "./examples.js";
import { $, make } from "./dom.js";
import { call } from "./gateway.js";
import { folder, open } from "./listing.js";
import { say } from "./messages.js";
import { upload } from "./transfers.js";

// ---- Uploads -----------------------------------------------------------------------------------------------------

const uploadHere = (files) => {
  const into = folder.id;
  upload(files, into, async () => {
    if (into === folder.id) await open();
  });
};

$("choose").onclick = () => $("chosen").click();
$("chosen").onchange = () => {
  uploadHere($("chosen").files);
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
  uploadHere(event.dataTransfer.files);
});

// ---- The rest ----------------------------------------------------------------------------------------------------

for (const button of document.querySelectorAll(".copy")) {
  button.onclick = async () => {
    const source = $(button.dataset.copies);
    try {
      await navigator.clipboard.writeText(source.textContent.trim());
      button.textContent = "Copied";
    } catch {
      // The browser forbids it; the text is selected, to be copied by keyboard.
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    say(button.textContent);
    setTimeout(() => (button.textContent = "Copy"), 1500);
  };
}

const whoami = async () => {
  try {
    const me = await (await call("/2.0/users/me")).json();
    const login = make("span", { className: "faint", textContent: me.login, title: me.login });
    $("who").replaceChildren(make("b", { textContent: `Acting as ${me.name}` }), login);
  } catch {
    $("who").replaceChildren(make("span", { className: "faint", textContent: "Nobody knows who you are" }));
  }
};

// The fragment of the address names a folder, so links within the page must not change it.
document.querySelector(".skip").onclick = (event) => {
  event.preventDefault();
  $("files").focus();
};
addEventListener("hashchange", open);
whoami();
open();
