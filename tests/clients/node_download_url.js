// A URL for a download that is handed on, by Box's Node SDK 10: it wants a redirect.
//
//     NODE_PATH=target/clients/node/node_modules node node_download_url.js BASE_URL
//
// The gateway in front must have follow_downloads = "rewrite". One JSON line for each step.
"use strict";

const assert = require("node:assert/strict");
const { Readable } = require("node:stream");

const { BoxClient } = require("box-node-sdk");

const CONTENT = "Text that goes up and comes down.";
const base = process.argv[2];
const client = new BoxClient({ auth: undefined }).withCustomBaseUrls({
  baseUrl: base, uploadUrl: `${base}/api`, oauth2Url: `${base}/oauth2`,
});

async function main() {
  const attributes = { name: `a ${Date.now()} ${process.pid}.txt`, parent: { id: "0" } };
  const file = Readable.from(Buffer.from(CONTENT), { objectMode: false });
  const { id } = (await client.uploads.uploadFile({ attributes, file })).entries[0];
  const url = await client.downloads.getDownloadFileUrl(id);
  assert.ok(url.startsWith(`${base}/`), url);
  assert.equal(await (await fetch(url)).text(), CONTENT);
  console.log(JSON.stringify({ step: "url", ok: true }));
  const pieces = [];
  for await (const piece of await client.downloads.downloadFile(id)) {
    pieces.push(piece);
  }
  assert.equal(Buffer.concat(pieces).toString(), CONTENT);
  console.log(JSON.stringify({ step: "download", ok: true }));
}

main();
