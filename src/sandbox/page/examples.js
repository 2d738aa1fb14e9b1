// A few folders and files to begin with.

import { $, focusIfLost, isBusy, make, setBusy } from "./dom.js";
import { call, json } from "./gateway.js";
import { calm, complain } from "./messages.js";
import { folder, open } from "./listing.js";
import { upload } from "./transfers.js";

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
  if (isBusy($("examples"))) return;
  setBusy($("examples"), true);
  const parent = folder.id;
  try {
    for (const name of ["Contracts", "Pictures"]) {
      await call("/2.0/folders", json("POST", { name, parent: { id: parent } }));
    }
    const text = "Everything on this page came through boxgate.\n";
    const files = [
      await painted("Morning.png", "#5b7fe0", "#f6c9a8"),
      await painted("Evening.png", "#40306b", "#e58a7b"),
      new File([text], "Read me first.txt", { type: "text/plain" }),
    ];
    await upload(files, parent, async () => {});
    calm("examples");
  } catch (error) {
    complain(error, "examples");
  }
  setBusy($("examples"), false);
  await open();
  focusIfLost($("files"));
};
