// The notices at the top of the page: errors, and operations that can be undone.

import { $, focusIfLost, isBusy, setBusy } from "./dom.js";
import { words } from "./gateway.js";

let counting;
let subject;

/// Shows an error. `about` identifies the operation, so that its success removes the message; `again` repeats it, after
/// the time in Retry-After.
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

/// Removes the message; with `about`, only one about that operation.
export const calm = (about) => {
  if ($("notice").hidden || (about && about !== subject)) return;
  clearInterval(counting);
  $("notice").hidden = true;
  focusIfLost($("files"));
};
$("dismiss").onclick = () => calm();

/// Reports an operation and offers to undo it.
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

/// Announces a text to screen readers.
export const say = (text) => ($("said").textContent = text);
