// The older generations of Box's Node SDK, unmodified but for their base URLs. They take a download from nothing but a
// redirect, so the gateway in front must have follow_downloads = "rewrite".
//
//     NODE_PATH=target/clients/node/node_modules node legacy_node_workflow.js BASE_URL box-node-sdk-3
//
// One JSON line for each step; the first that fails ends the run with 1.
"use strict";

const assert = require("node:assert/strict");
const http = require("node:http");
const { Readable } = require("node:stream");

const [base, generation] = process.argv.slice(2);
const loaded = require(generation);
const BoxSDK = loaded.default ?? loaded;

const sdk = new BoxSDK({
  clientID: "any", clientSecret: "any",
  apiRootURL: base,
  // The SDK recognizes the answer to an upload by "upload.box.com" in its URL.
  uploadAPIRootURL: `${base}/_box/upload.box.com/api`,
  // Otherwise plain HTTP is given to an agent for HTTPS.
  request: { agentClass: http.Agent },
  // As the Box CLI has it.
  iterators: true,
});
const client = sdk.getBasicClient("any");
const content = Buffer.from("Text that goes up and comes down.");
const name = `legacy ä ${Date.now()} ${process.pid}`;

async function bytes(stream) {
  const pieces = [];
  for await (const piece of stream) {
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

let file;
const steps = {
  async user() {
    assert.ok((await client.users.get("me")).login);
  },
  async upload() {
    const answer = await client.files.uploadFile("0", `${name}.txt`, content);
    [file] = answer.entries;
    assert.equal(file.size, content.length);
  },
  async upload_stream() {
    const answer = await client.files.uploadFile("0", `${name} 2.txt`, Readable.from([content]), {
      content_length: content.length,
    });
    assert.equal(answer.entries[0].sha1, file.sha1);
  },
  async list() {
    const items = await client.folders.getItems("0");
    const names = [];
    for (let item = await items.next(); !item.done; item = await items.next()) {
      names.push(item.value.name);
    }
    assert.ok(names.includes(`${name}.txt`), names.join());
  },
  async new_version() {
    const answer = await client.files.uploadNewFileVersion(file.id, content);
    assert.equal(answer.entries[0].id, file.id);
  },
  async read_stream() {
    assert.ok(content.equals(await bytes(await client.files.getReadStream(file.id))));
  },
  async read_range() {
    const stream = await client.files.getReadStream(file.id, { byteRange: [5, 8] });
    assert.equal((await bytes(stream)).toString(), "that");
  },
  async download_url() {
    const url = await client.files.getDownloadURL(file.id);
    assert.ok(url.startsWith(`${base}/_box/`), url);
    const answer = await fetch(url);
    assert.equal(answer.status, 200);
    assert.ok(content.equals(Buffer.from(await answer.arrayBuffer())));
  },
};

async function main() {
  for (const [step, run] of Object.entries(steps)) {
    try {
      await run();
    } catch (error) {
      console.log(JSON.stringify({ step, ok: false, error: String(error.stack ?? error) }));
      process.exit(1);
    }
    console.log(JSON.stringify({ step, ok: true }));
  }
}

main();
