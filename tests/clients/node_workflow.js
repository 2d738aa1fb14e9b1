// A workflow by Box's Node SDK 10, unmodified but for its base URLs.
//
//     NODE_PATH=target/clients/node/node_modules node node_workflow.js BASE_URL [--only a,b]
//
// One JSON line for each step; the first that fails ends the run with 1.
"use strict";

const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const { Readable } = require("node:stream");
const { setTimeout: sleep } = require("node:timers/promises");
const zlib = require("node:zlib");

const { BoxCcgAuth, BoxClient, BoxDeveloperTokenAuth, BoxJwtAuth, BoxOAuth } = require("box-node-sdk");
const { CcgConfig, JwtConfig, OAuthConfig } = require("box-node-sdk");
const { BaseUrls, BoxRetryStrategy, NetworkSession } = require("box-node-sdk/networking");

const BIG = 24 * 1024 * 1024;
const PNG = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);
// A user of the sandbox.
const MANAGED_USER = "11446498";
const PAGES = [0, 1, 2, 3, 4].map((number) => `page ${number}`);

const [base, ...options] = process.argv.slice(2).map((argument) => argument.replace(/\/$/, ""));

/** Without auth the SDK sends no `Authorization` at all. */
function authenticated(auth) {
  const baseUrls = new BaseUrls({ baseUrl: base, uploadUrl: `${base}/api`, oauth2Url: `${base}/oauth2` });
  const retryStrategy = new BoxRetryStrategy({ maxAttempts: 2, retryBaseInterval: 0.1 });
  return new BoxClient({ auth, networkSession: new NetworkSession({ baseUrls, retryStrategy }) });
}

const client = authenticated(undefined);
// Not ASCII, and free although an earlier run may have left something.
const name = `node ä ${Date.now()} ${process.pid}`;

/** Made when it is first asked for. */
function once(make) {
  let made;
  return () => (made ??= make());
}

const folder = once(async () => (await client.folders.createFolder({ name, parent: { id: "0" } })).id);
const file = once(async () => (await upload("a.txt", Buffer.from("first"))).id);
const picture = once(async () => (await upload("picture.png", PNG)).id);
const paged = once(async () => {
  const { id } = await client.folders.createFolder({ name: "pages", parent: { id: await folder() } });
  for (const page of PAGES) {
    await client.folders.createFolder({ name: page, parent: { id } });
  }
  return (more) => client.folders.getFolderItems(id, { queryParams: { fields: ["name"], limit: 2, ...more } });
});

async function upload(name, content) {
  const attributes = { name, parent: { id: await folder() } };
  const answer = await client.uploads.uploadFile({ attributes, file: Readable.from(content, { objectMode: false }) });
  return answer.entries[0];
}

async function bytes(stream) {
  return Buffer.concat(await stream.toArray());
}

async function content(id, headers) {
  return bytes(await client.downloads.downloadFile(id, { headers }));
}

function sha1(content) {
  return crypto.createHash("sha1").update(content).digest("hex");
}

/** The same bytes every time, of which no two parts are alike. */
function big() {
  const cipher = crypto.createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16));
  return cipher.update(Buffer.alloc(BIG));
}

function isImage(content) {
  const start = content.subarray(0, 4).toString("latin1");
  assert.match(start, /^(\x89PNG|\xff\xd8\xff|GIF8)/);
}

/** As code around the SDK does; the URL is one that an answer gave, so it must lead through the gateway. */
async function plainGet(url) {
  assert.ok(url.startsWith(`${base}/`), `${url} does not lead through ${base}`);
  const answer = await fetch(url);
  assert.equal(answer.status, 200);
  return Buffer.from(await answer.arrayBuffer());
}

/** The members of a zip, by name without folders; from its central directory. */
function unzipped(archive) {
  const end = archive.lastIndexOf(Buffer.from("PK\x05\x06"));
  assert.ok(end >= 0, "no zip");
  const members = new Map();
  let entry = archive.readUInt32LE(end + 16);
  for (let left = archive.readUInt16LE(end + 10); left > 0; left--) {
    assert.equal(archive.readUInt32LE(entry), 0x02014b50);
    const [method, size] = [archive.readUInt16LE(entry + 10), archive.readUInt32LE(entry + 20)];
    const lengths = [28, 30, 32].map((place) => archive.readUInt16LE(entry + place));
    const name = archive.toString("utf8", entry + 46, entry + 46 + lengths[0]);
    const local = archive.readUInt32LE(entry + 42);
    const start = local + 30 + archive.readUInt16LE(local + 26) + archive.readUInt16LE(local + 28);
    const data = archive.subarray(start, start + size);
    members.set(name.split("/").pop(), method === 8 ? zlib.inflateRawSync(data) : data);
    entry += 46 + lengths[0] + lengths[1] + lengths[2];
  }
  return members;
}

const steps = {
  async me() {
    assert.ok((await client.users.getUserMe()).login);
  },

  async folder() {
    assert.equal((await client.folders.getFolderById(await folder())).name, name);
  },

  async upload() {
    const content = Buffer.from("some text");
    assert.equal((await upload("uploaded.txt", content)).sha1, sha1(content));
  },

  async version() {
    const file = await upload("versioned.txt", Buffer.from("first"));
    const answer = await client.uploads.uploadFileVersion(
      file.id,
      { attributes: { name: "versioned.txt" }, file: Readable.from(Buffer.from("second"), { objectMode: false }) },
      { headers: { ifMatch: file.etag } },
    );
    assert.deepEqual([answer.entries[0].id, answer.entries[0].sha1], [file.id, sha1("second")]);
  },

  async info() {
    const info = await client.files.getFileById(await file(), { queryParams: { fields: ["name", "size", "parent"] } });
    assert.deepEqual([info.name, info.size, info.parent.id], ["a.txt", 5, await folder()]);
  },

  /** More than one page. */
  async items() {
    const list = await paged();
    const pages = await Promise.all([0, 2, 4].map((offset) => list({ offset })));
    assert.deepEqual(pages.map((page) => page.totalCount), [5, 5, 5]);
    assert.deepEqual(pages.flatMap((page) => page.entries.map((item) => item.name)).sort(), PAGES);
  },

  async items_by_marker() {
    const list = await paged();
    const found = [];
    let marker;
    do {
      const page = await list({ usemarker: true, marker });
      found.push(...page.entries.map((item) => item.name));
      marker = page.nextMarker;
    } while (marker && found.length < 10);
    assert.deepEqual(found.sort(), PAGES);
  },

  async search() {
    await upload("needle.txt", Buffer.from("needle"));
    const found = await client.search.searchForContent({ query: "needle", limit: 5 });
    assert.ok(found.entries.some((item) => item.name === "needle.txt"));
  },

  async download() {
    assert.equal((await content(await file())).toString(), "first");
  },

  async download_range() {
    assert.equal((await content(await file(), { range: "bytes=1-3" })).toString(), "irs");
  },

  async thumbnail() {
    isImage(await bytes(await client.files.getFileThumbnailById(await picture(), "png")));
  },

  async chunked() {
    const whole = big();
    const stream = Readable.from(whole, { objectMode: false });
    const file = await client.chunkedUploads.uploadBigFile(stream, "big.bin", BIG, await folder());
    assert.deepEqual([file.size, file.sha1], [BIG, sha1(whole)]);
    assert.ok(whole.equals(await content(file.id)), "the download differs from what was uploaded");
  },

  async preflight() {
    const check = { name: "new.bin", size: 5, parent: { id: await folder() } };
    assert.ok((await client.uploads.preflightFileUploadCheck(check)).uploadUrl);
  },

  async shared_link() {
    const links = client.sharedLinksFiles;
    const fields = { fields: "shared_link" };
    const shared = await links.addShareLinkToFile(await file(), { sharedLink: { access: "open" } }, fields);
    const found = await links.findFileForSharedLink({}, { boxapi: `shared_link=${shared.sharedLink.url}` });
    assert.equal(found.id, await file());
  },

  async comment() {
    const item = { type: "file", id: await file() };
    const { id } = await client.comments.createComment({ message: "hé", item });
    assert.equal((await client.comments.getCommentById(id)).message, "hé");
    const listed = await client.comments.getFileComments(await file());
    assert.ok(listed.entries.some((comment) => comment.id === id));
    await client.comments.deleteCommentById(id);
  },

  async collaboration() {
    const manager = client.userCollaborations;
    const { id } = await manager.createCollaboration({
      item: { type: "folder", id: await folder() },
      accessibleBy: { type: "user", id: MANAGED_USER },
      role: "editor",
    });
    await manager.updateCollaborationById(id, { requestBody: { role: "viewer" } });
    assert.equal((await manager.getCollaborationById(id)).role, "viewer");
    await manager.deleteCollaborationById(id);
  },

  async metadata() {
    const manager = client.fileMetadata;
    const where = [await file(), "global", "properties"];
    await manager.createFileMetadataById(...where, { audience: "internal" });
    const change = { op: "replace", path: "/audience", value: "public" };
    await manager.updateFileMetadataById(...where, [change]);
    assert.equal((await manager.getFileMetadataById(...where)).extraData.audience, "public");
    await manager.deleteFileMetadataById(...where);
  },

  async webhook() {
    const address = "https://hooks.example/box?a=b";
    const target = { type: "folder", id: await folder() };
    const { id } = await client.webhooks.createWebhook({ target, address, triggers: ["FILE.UPLOADED"] });
    assert.equal((await client.webhooks.getWebhookById(id)).address, address);
    assert.ok((await client.webhooks.getWebhooks()).entries.some((webhook) => webhook.id === id));
    await client.webhooks.deleteWebhookById(id);
  },

  async representations() {
    const file = await client.files.getFileById(await picture(), {
      queryParams: { fields: ["representations"] },
      headers: { xRepHints: "[jpg?dimensions=320x320]" },
    });
    const { url } = file.representations.entries[0].info;
    for (let tries = 0; tries < 20; tries++) {
      const info = JSON.parse(await plainGet(url));
      if (info.status.state === "success") {
        const template = info.content.url_template;
        assert.ok(template.includes("{+asset_path}"), template);
        return isImage(await plainGet(template.replace("{+asset_path}", "")));
      }
      await sleep(200);
    }
    assert.fail("not ready");
  },

  async zip_download() {
    await Promise.all([file(), picture()]);
    const items = [{ type: "folder", id: await folder() }];
    const members = unzipped(await bytes(await client.zipDownloads.downloadZip({ items, downloadFileName: "all" })));
    assert.equal(members.get("a.txt")?.toString(), "first");
    assert.ok(members.get("picture.png")?.equals(PNG));
  },

  /** The SDK's own long poll, which never ends by itself, tells of an upload. */
  async events() {
    const server = (await client.events.getEventsWithLongPolling()).entries[0];
    assert.ok(server.url.startsWith(`${base}/`), server.url);
    const stream = client.events.getEventStream();
    try {
      const told = new Promise((resolve, reject) => {
        stream.on("data", (event) => event.eventType === "ITEM_UPLOAD" && resolve());
        stream.on("error", reject);
      });
      await sleep(500);
      await upload("news.txt", Buffer.from("news"));
      await Promise.race([told, sleep(30_000, null, { ref: false }).then(() => assert.fail("no event in 30 s"))]);
    } finally {
      stream.destroy();
    }
  },

  async developer_token() {
    assert.ok((await authenticated(new BoxDeveloperTokenAuth({ token: "unused" })).users.getUserMe()).login);
  },

  async ccg() {
    const config = new CcgConfig({ clientId: "invented", clientSecret: "invented", enterpriseId: "1" });
    const auth = new BoxCcgAuth({ config });
    const client = authenticated(auth);
    assert.ok((await client.users.getUserMe()).login);
    await auth.revokeToken(client.networkSession);
  },

  async jwt() {
    const { privateKey } = crypto.generateKeyPairSync("rsa", {
      modulusLength: 2048,
      publicKeyEncoding: { type: "spki", format: "pem" },
      privateKeyEncoding: { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "invented" },
    });
    const config = new JwtConfig({
      clientId: "invented",
      clientSecret: "invented",
      jwtKeyId: "invented",
      privateKey,
      privateKeyPassphrase: "invented",
      enterpriseId: "1",
    });
    assert.ok((await authenticated(new BoxJwtAuth({ config })).users.getUserMe()).login);
  },

  async oauth() {
    const auth = new BoxOAuth({ config: new OAuthConfig({ clientId: "invented", clientSecret: "invented" }) });
    const client = authenticated(auth);
    await auth.getTokensAuthorizationCodeGrant("code", client.networkSession);
    assert.ok((await client.users.getUserMe()).login);
    await auth.refreshToken(client.networkSession);
    assert.ok((await client.users.getUserMe()).login);
  },

  async trash() {
    const { id } = await upload("trashed.txt", Buffer.from("some text"));
    await client.files.deleteFileById(id);
    assert.ok((await client.trashedFiles.getTrashedFileById(id)).trashedAt);
    const listed = await client.trashedItems.getTrashedItems({ limit: 1000 });
    assert.ok(listed.entries.some((item) => item.id === id));
    const restored = await client.trashedFiles.restoreFileFromTrash(id, { requestBody: { name: "restored.txt" } });
    assert.equal(restored.name, "restored.txt");
    await client.files.deleteFileById(id);
    await client.trashedFiles.deleteTrashedFileById(id);
  },

  async ai() {
    const items = [{ id: await file(), type: "file" }];
    const prompt = "What is it about?";
    assert.ok((await client.ai.createAiAsk({ mode: "single_item_qa", prompt, items })).answer);
    assert.ok((await client.ai.createAiTextGen({ prompt, items })).answer);
    assert.ok((await client.ai.createAiExtract({ prompt, items })).answer);
    const fields = [{ key: "vendor", type: "string" }];
    assert.ok((await client.ai.createAiExtractStructured({ items, fields })).answer.vendor);
    assert.equal((await client.ai.getAiAgentDefaultConfig({ mode: "ask" })).type, "ai_agent_ask");
  },

  async delete() {
    await client.files.deleteFileById(await file());
    const listed = await client.folders.getFolderItems(await folder());
    assert.ok(listed.entries.every((item) => item.name !== "a.txt"));
  },

  async delete_all() {
    await client.folders.deleteFolderById(await folder(), { queryParams: { recursive: true } });
    const listed = await client.folders.getFolderItems("0");
    assert.ok(listed.entries.every((item) => item.name !== name));
  },
};

async function main() {
  const only = options[0] === "--only" ? options[1].split(",") : Object.keys(steps);
  const strange = only.filter((name) => !(name in steps));
  assert.deepEqual(strange, [], `unknown; there are ${Object.keys(steps)}`);
  for (const name of Object.keys(steps).filter((name) => only.includes(name))) {
    const began = Date.now();
    const line = { step: name, ok: true };
    try {
      await steps[name]();
    } catch (error) {
      console.error(error);
      Object.assign(line, { ok: false, error: String(error).slice(0, 2000) });
    }
    console.log(JSON.stringify({ ...line, seconds: (Date.now() - began) / 1000 }));
    if (!line.ok) {
      process.exit(1);
    }
  }
}

main();
