"""A workflow by Box's Python SDK 3 (`boxsdk`), unmodified but for its base URLs."""

import functools
import hashlib
import io
import tempfile
import threading
import time
import zipfile

import workflow
from workflow import PNG, check, equal

from boxsdk import CCGAuth, Client, OAuth2
from boxsdk.config import API
from boxsdk.object.collaboration import CollaborationRole


class Workflow:
    def __init__(self, base):
        API.BASE_API_URL = f"{base}/2.0"
        API.UPLOAD_URL = f"{base}/api/2.0"
        API.OAUTH2_API_URL = f"{base}/oauth2"
        API.MAX_RETRY_ATTEMPTS = 1
        self.base = base
        self.name = workflow.unique("py3")
        # The SDK needs a token; this is the form of a developer token.
        self.client = Client(OAuth2("invented", "invented", access_token="unused"))

    @functools.cached_property
    def folder(self):
        return self.client.root_folder().create_subfolder(self.name)

    @functools.cached_property
    def file(self):
        return self.upload("a.txt", b"first")

    @functools.cached_property
    def picture(self):
        return self.upload("picture.png", PNG)

    @functools.cached_property
    def paged(self):
        """Lists a folder of five, two at a time."""
        folder = self.folder.create_subfolder("pages")
        for name in workflow.PAGES:
            folder.create_subfolder(name)
        return functools.partial(folder.get_items, fields=["name"], limit=2)

    def upload(self, name, content):
        return self.folder.upload_stream(io.BytesIO(content), name)


def me(w):
    check(w.client.user().get().login)


def folder(w):
    equal(w.folder.get().name, w.name)


def upload(w):
    content = b"some text"
    sha1 = hashlib.sha1(content).hexdigest()
    equal(w.folder.upload_stream(io.BytesIO(content), "uploaded.txt", sha1=sha1).sha1, sha1)


def version(w):
    file = w.upload("versioned.txt", b"first")
    changed = file.update_contents_with_stream(io.BytesIO(b"second"), etag=file.etag)
    equal((changed.id, changed.sha1), (file.id, hashlib.sha1(b"second").hexdigest()))


def info(w):
    file = w.file.get(fields=["name", "size", "parent"])
    equal((file.name, file.size, file.parent.id), ("a.txt", 5, w.folder.id))


def items(w):
    """The SDK turns the pages itself."""
    equal(sorted(item.name for item in w.paged()), workflow.PAGES)


def items_by_marker(w):
    """The SDK writes `usemarker=True`."""
    equal(sorted(item.name for item in w.paged(use_marker=True)), workflow.PAGES)


def search(w):
    w.upload("needle.txt", b"needle")
    found = [item.name for item in w.client.search().query("needle", limit=5)]
    check("needle.txt" in found, found)


def download(w):
    equal(w.file.content(), b"first")


def download_range(w):
    equal(w.file.content(byte_range=(1, 3)), b"irs")


def thumbnail(w):
    workflow.is_image(w.picture.get_thumbnail("png"))


def chunked(w):
    content = workflow.big()
    with tempfile.NamedTemporaryFile() as big:
        big.write(content)
        big.flush()
        file = w.folder.get_chunked_uploader(big.name, "big.bin").start()
    equal((file.size, file.sha1), (len(content), hashlib.sha1(content).hexdigest()))
    check(file.content() == content, "the download differs from what was uploaded")


def preflight(w):
    w.folder.preflight_check(5, "new.bin")


def shared_link(w):
    equal(w.client.get_shared_item(w.file.get_shared_link(access="open")).id, w.file.id)


def comment(w):
    made = w.file.add_comment("hé")
    equal(made.get().message, "hé")
    check(made.id in [each.id for each in w.file.get_comments()])
    made.delete()


def collaboration(w):
    made = w.folder.collaborate(w.client.user(workflow.MANAGED_USER), CollaborationRole.EDITOR)
    made.update_info(role=CollaborationRole.VIEWER)
    equal(made.get().role, "viewer")
    made.delete()


def metadata(w):
    metadata = w.file.metadata()
    metadata.create({"audience": "internal"})
    change = metadata.start_update()
    change.update("/audience", "public", old_value="internal")
    metadata.update(change)
    equal(metadata.get()["audience"], "public")
    metadata.delete()


def webhook(w):
    address = "https://hooks.example/box?a=b"
    made = w.client.create_webhook(w.folder, ["FILE.UPLOADED"], address)
    equal(made.get().address, address)
    check(made.id in [each.id for each in w.client.get_webhooks()])
    made.delete()


def representations(w):
    entries = w.picture.get_representation_info("[jpg?dimensions=320x320]")
    workflow.is_image(workflow.representation(w.base, entries[0]))


def zip_download(w):
    check(w.file, w.picture)
    stream = io.BytesIO()
    w.client.download_zip("all", [w.folder], stream)
    archive = zipfile.ZipFile(stream)
    equal(archive.testzip(), None)
    contents = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}
    equal((contents.get("a.txt"), contents.get("picture.png")), (b"first", PNG))


def events(w):
    """The long poll hangs until something changes; then the event is there."""
    stream = w.client.events()
    position = stream.get_latest_stream_position()
    options = stream.get_long_poll_options()
    check(options["url"].startswith(w.base + "/"), options)
    said = []
    polling = threading.Thread(
        target=lambda: said.append(stream.long_poll(options, position).json()["message"]), daemon=True
    )
    polling.start()
    w.upload("news.txt", b"news")
    polling.join(timeout=30)
    check(said, "the long poll did not answer in 30 s")
    equal(said, ["new_change"])
    found = stream.get_events(stream_position=position)["entries"]
    check("ITEM_UPLOAD" in [each.event_type for each in found], found)


def ccg(w):
    auth = CCGAuth("invented", "invented", enterprise_id="1")
    check(Client(auth).user().get().login)


def revoke(w):
    """The SDK takes no answer here that is not JSON."""
    OAuth2("invented", "invented", access_token="unused").revoke()


def oauth(w):
    """The SDK takes no answer here without a refresh token."""
    auth = OAuth2("invented", "invented")
    auth.authenticate("code")
    check(Client(auth).user().get().login)
    auth.refresh(auth.access_token)


def trash(w):
    """Restored under another name, then gone for ever."""
    file, bin = w.upload("trashed.txt", b"some text"), w.client.trash()
    file.delete()
    check(bin.get_item(file).trashed_at)
    check(file.id in [item.id for item in bin.get_items()])
    equal(bin.restore_item(file, name="restored.txt").name, "restored.txt")
    file.delete()
    check(bin.permanently_delete_item(file))


def ai(w):
    items = [{"id": w.file.object_id, "type": "file"}]
    check(w.client.send_ai_question(items, "What is it about?")["answer"])
    check(w.client.send_ai_text_gen([], items, "Write a letter.")["answer"])
    equal(w.client.get_ai_agent_default_config("ask")["type"], "ai_agent_ask")


def delete(w):
    w.file.delete()
    names = [item.name for item in w.folder.get_items()]
    check("a.txt" not in names, names)


def delete_all(w):
    """The SDK writes `recursive=True`."""
    w.folder.delete(recursive=True)
    names = [item.name for item in w.client.root_folder().get_items()]
    check(w.name not in names, names)


STEPS = [
    me,
    folder,
    upload,
    version,
    info,
    items,
    items_by_marker,
    search,
    download,
    download_range,
    thumbnail,
    chunked,
    preflight,
    shared_link,
    comment,
    collaboration,
    metadata,
    webhook,
    representations,
    zip_download,
    events,
    ccg,
    revoke,
    oauth,
    trash,
    ai,
    delete,
    delete_all,
]
workflow.run(STEPS, Workflow)
