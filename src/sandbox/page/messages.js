// What the page says at its top: what went wrong, and what was done and can be undone.

import { $, focusIfLost, isBusy, setBusy } from "./dom.js";
import { words } from "./gateway.js";

let counting;
let subject;

/// Says what went wrong. `about` names what this is about, so that its success takes the message away; `again` does it
/// once more, after the time that the answer asks for.
export const complain = (error, about, again) => {
  clearInterval(counting);
  subject = about;
  const [title, text] = words(error);
  $("notice").querySelector("strong").textContent = title;
  $("notice").querySelector("p").textContent = text;
  $("notice").hidden = false;
  $("again").hidden = !again;
  $("again").onclick = () => {
    if (isBusy($("again"))) return;
    calm();
    again();
  };
  let left = error.retryAfter ?? 0;
  const tick = () => {
    setBusy($("again"), left > 0);
    $("again").textContent = left > 0 ? `Try again in ${left} s` : "Try again";
    if (left-- <= 0) clearInterval(counting);
  };
  tick();
  if (left >= 0) counting = setInterval(tick, 1000);
};

/// Takes the message away; with `about`, only one about that.
export const calm = (about) => {
  if ($("notice").hidden || (about && about !== subject)) return;
  clearInterval(counting);
  $("notice").hidden = true;
  focusIfLost($("files"));
};
$("dismiss").onclick = () => calm();

/// Says what was done, and offers to undo it.
export const offerUndo = (text, undo) => {
  $("done").hidden = false;
  $("done-text").textContent = text;
  $("undo").onclick = async () => {
    forget();
    await undo();
  };
};
const forget = () => {
  $("done").hidden = true;
  focusIfLost($("files"));
};
$("forget").onclick = forget;

/// For those who do not see the page.
export const say = (text) => ($("said").textContent = text);
