// The older generations of Box's Node SDK with nothing changed but the token, through a tunnel.
//
//     boxgate exec -- node legacy_node_tunnel.js box-node-sdk-3
//
// One JSON line for each step.
"use strict";

const assert = require("node:assert/strict");

const [generation] = process.argv.slice(2);
const loaded = require(generation);
const BoxSDK = loaded.default ?? loaded;

// Iterators, as the Box CLI has them.
const sdk = new BoxSDK({ clientID: "any", clientSecret: "any", iterators: true });
const client = sdk.getBasicClient("any");
const content = Buffer.from("Text that goes up and comes down.");

async function main() {
  assert.ok((await client.users.get("me")).login);
  console.log(JSON.stringify({ step: "user", ok: true }));
  const answer = await client.files.uploadFile("0", `tunnel ${Date.now()} ${process.pid}.txt`, content);
  const { id } = answer.entries[0];
  console.log(JSON.stringify({ step: "upload", ok: true }));
  const pieces = [];
  for await (const piece of await client.files.getReadStream(id)) {
    pieces.push(piece);
  }
  assert.ok(content.equals(Buffer.concat(pieces)));
  console.log(JSON.stringify({ step: "read_stream", ok: true }));
}

main();
