"""A workflow by Box's Python SDK 10 (`box_sdk_gen`), unmodified but for its base URLs."""

import functools
import hashlib
import io
import json
import threading
import time
import zipfile

import workflow
from workflow import PNG, check, equal

from box_sdk_gen import (
    AccessToken,
    BoxCCGAuth,
    BoxClient,
    BoxDeveloperTokenAuth,
    BoxOAuth,
    CCGConfig,
    OAuthConfig,
)
from box_sdk_gen.managers.ai import (
    CreateAiAskMode,
    CreateAiExtractStructuredFields,
    CreateAiTextGenItems,
    GetAiAgentDefaultConfigMode,
)
from box_sdk_gen.managers.comments import CreateCommentItem, CreateCommentItemTypeField
from box_sdk_gen.managers.file_metadata import (
    CreateFileMetadataByIdScope,
    DeleteFileMetadataByIdScope,
    GetFileMetadataByIdScope,
    UpdateFileMetadataByIdRequestBody,
    UpdateFileMetadataByIdRequestBodyOpField,
    UpdateFileMetadataByIdScope,
)
from box_sdk_gen.managers.files import GetFileThumbnailByIdExtension
from box_sdk_gen.managers.folders import CreateFolderParent
from box_sdk_gen.managers.shared_links_files import (
    AddShareLinkToFileSharedLink,
    AddShareLinkToFileSharedLinkAccessField,
)
from box_sdk_gen.managers.uploads import (
    PreflightFileUploadCheckParent,
    UploadFileAttributes,
    UploadFileAttributesParentField,
    UploadFileVersionAttributes,
)
from box_sdk_gen.managers.user_collaborations import (
    CreateCollaborationAccessibleBy,
    CreateCollaborationAccessibleByTypeField,
    CreateCollaborationItem,
    CreateCollaborationItemTypeField,
    CreateCollaborationRole,
    UpdateCollaborationByIdRole,
)
from box_sdk_gen.managers.webhooks import (
    CreateWebhookTarget,
    CreateWebhookTargetTypeField,
    CreateWebhookTriggers,
)
from box_sdk_gen.managers.zip_downloads import DownloadZipItems, DownloadZipItemsTypeField
from box_sdk_gen.managers.trashed_files import RestoreFileFromTrashParent
from box_sdk_gen.networking import BaseUrls, BoxRetryStrategy, FetchOptions, NetworkSession
from box_sdk_gen.schemas import AiItemAsk, AiItemAskTypeField, AiItemBase


class Workflow:
    def __init__(self, base):
        self.base = base
        self.name = workflow.unique("py10")
        self.client = self.authenticated(None)

    def authenticated(self, auth):
        """Without auth the SDK sends no `Authorization` at all."""
        urls = BaseUrls(base_url=self.base, upload_url=f"{self.base}/api", oauth_2_url=f"{self.base}/oauth2")
        retries = BoxRetryStrategy(max_attempts=2, retry_base_interval=0.1)
        return BoxClient(auth=auth, network_session=NetworkSession(base_urls=urls, retry_strategy=retries))

    @functools.cached_property
    def folder(self):
        return self.client.folders.create_folder(self.name, CreateFolderParent(id="0")).id

    @functools.cached_property
    def file(self):
        return self.upload("a.txt", b"first").id

    @functools.cached_property
    def picture(self):
        return self.upload("picture.png", PNG).id

    def upload(self, name, content):
        attributes = UploadFileAttributes(name=name, parent=UploadFileAttributesParentField(id=self.folder))
        return self.client.uploads.upload_file(attributes, io.BytesIO(content)).entries[0]

    @functools.cached_property
    def paged(self):
        """Lists a folder of five, two at a time."""
        folder = self.client.folders.create_folder("pages", CreateFolderParent(id=self.folder)).id
        for name in workflow.PAGES:
            self.client.folders.create_folder(name, CreateFolderParent(id=folder))
        return functools.partial(self.client.folders.get_folder_items, folder, fields=["name"], limit=2)

    def content(self, file, **options):
        return self.client.downloads.download_file(file, **options).read()


def me(w):
    check(w.client.users.get_user_me().login)


def folder(w):
    equal(w.client.folders.get_folder_by_id(w.folder).name, w.name)


def upload(w):
    equal(w.upload("uploaded.txt", b"some text").sha_1, hashlib.sha1(b"some text").hexdigest())


def version(w):
    file = w.upload("versioned.txt", b"first")
    changed = w.client.uploads.upload_file_version(
        file.id, UploadFileVersionAttributes(name="versioned.txt"), io.BytesIO(b"second"), if_match=file.etag
    ).entries[0]
    equal((changed.id, changed.sha_1), (file.id, hashlib.sha1(b"second").hexdigest()))


def info(w):
    file = w.client.files.get_file_by_id(w.file, fields=["name", "size", "parent"])
    equal((file.name, file.size, file.parent.id), ("a.txt", 5, w.folder))


def items(w):
    """More than one page."""
    pages = [w.paged(offset=offset) for offset in (0, 2, 4)]
    equal([page.total_count for page in pages], [5, 5, 5])
    equal(sorted(item.name for page in pages for item in page.entries), workflow.PAGES)


def items_by_marker(w):
    """The SDK writes `usemarker=True`."""
    page = w.paged(usemarker=True)
    found = page.entries
    while page.next_marker and len(found) < 10:
        page = w.paged(usemarker=True, marker=page.next_marker)
        found += page.entries
    equal(sorted(item.name for item in found), workflow.PAGES)


def search(w):
    w.upload("needle.txt", b"needle")
    found = w.client.search.search_for_content(query="needle", limit=5)
    check("needle.txt" in [item.name for item in found.entries], found.entries)


def download(w):
    equal(w.content(w.file), b"first")


def download_range(w):
    equal(w.content(w.file, range="bytes=1-3"), b"irs")


def thumbnail(w):
    thumbnail = w.client.files.get_file_thumbnail_by_id(w.picture, GetFileThumbnailByIdExtension.PNG)
    workflow.is_image(thumbnail.read())


def chunked(w):
    content = workflow.big()
    uploads = w.client.chunked_uploads
    file = uploads.upload_big_file(io.BytesIO(content), "big.bin", len(content), w.folder)
    equal((file.size, file.sha_1), (len(content), hashlib.sha1(content).hexdigest()))
    check(w.content(file.id) == content, "the download differs from what was uploaded")


def preflight(w):
    parent = PreflightFileUploadCheckParent(id=w.folder)
    answer = w.client.uploads.preflight_file_upload_check(name="new.bin", size=5, parent=parent)
    check(answer.upload_url, answer)


def shared_link(w):
    link = AddShareLinkToFileSharedLink(access=AddShareLinkToFileSharedLinkAccessField.OPEN)
    links = w.client.shared_links_files
    url = links.add_share_link_to_file(w.file, "shared_link", shared_link=link).shared_link.url
    equal(links.find_file_for_shared_link(f"shared_link={url}").id, w.file)


def comment(w):
    item = CreateCommentItem(id=w.file, type=CreateCommentItemTypeField.FILE)
    made = w.client.comments.create_comment("hé", item)
    equal(w.client.comments.get_comment_by_id(made.id).message, "hé")
    check(made.id in [each.id for each in w.client.comments.get_file_comments(w.file).entries])
    w.client.comments.delete_comment_by_id(made.id)


def collaboration(w):
    manager = w.client.user_collaborations
    made = manager.create_collaboration(
        CreateCollaborationItem(type=CreateCollaborationItemTypeField.FOLDER, id=w.folder),
        CreateCollaborationAccessibleBy(
            type=CreateCollaborationAccessibleByTypeField.USER, id=workflow.MANAGED_USER
        ),
        CreateCollaborationRole.EDITOR,
    )
    manager.update_collaboration_by_id(made.id, role=UpdateCollaborationByIdRole.VIEWER)
    equal(manager.get_collaboration_by_id(made.id).role.value, "viewer")
    manager.delete_collaboration_by_id(made.id)


def metadata(w):
    manager = w.client.file_metadata
    where = (w.file, CreateFileMetadataByIdScope.GLOBAL, "properties")
    manager.create_file_metadata_by_id(*where, {"audience": "internal"})
    change = UpdateFileMetadataByIdRequestBody(
        op=UpdateFileMetadataByIdRequestBodyOpField.REPLACE, path="/audience", value="public"
    )
    manager.update_file_metadata_by_id(w.file, UpdateFileMetadataByIdScope.GLOBAL, "properties", [change])
    found = manager.get_file_metadata_by_id(w.file, GetFileMetadataByIdScope.GLOBAL, "properties")
    equal(found.extra_data["audience"], "public")
    manager.delete_file_metadata_by_id(w.file, DeleteFileMetadataByIdScope.GLOBAL, "properties")


def webhook(w):
    target = CreateWebhookTarget(id=w.folder, type=CreateWebhookTargetTypeField.FOLDER)
    address = "https://hooks.example/box?a=b"
    made = w.client.webhooks.create_webhook(target, address, [CreateWebhookTriggers.FILE_UPLOADED])
    equal(w.client.webhooks.get_webhook_by_id(made.id).address, address)
    check(made.id in [each.id for each in w.client.webhooks.get_webhooks().entries])
    w.client.webhooks.delete_webhook_by_id(made.id)


def representations(w):
    hints = "[jpg?dimensions=320x320]"
    file = w.client.files.get_file_by_id(w.picture, fields=["representations"], x_rep_hints=hints)
    workflow.is_image(workflow.representation(w.base, file.representations.to_dict()["entries"][0]))


def zip_download(w):
    check(w.file, w.picture)
    items = [DownloadZipItems(type=DownloadZipItemsTypeField.FOLDER, id=w.folder)]
    stream = w.client.zip_downloads.download_zip(items, download_file_name="all")
    archive = zipfile.ZipFile(io.BytesIO(stream.read()))
    equal(archive.testzip(), None)
    contents = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}
    equal((contents.get("a.txt"), contents.get("picture.png")), (b"first", PNG))


def events(w):
    """The long poll hangs until something changes; then the event is there."""
    position = w.client.events.get_events(stream_position="now").next_stream_position
    server = w.client.events.get_events_with_long_polling().entries[0]
    equal(server.type, "realtime_server")
    check(server.url.startswith(w.base + "/"), server.url)
    said = []

    def poll():
        session = w.client.network_session
        options = FetchOptions(
            url=f"{server.url}&stream_position={position}", method="GET", network_session=session
        )
        said.append(session.network_client.fetch(options).data["message"])

    polling = threading.Thread(target=poll, daemon=True)
    polling.start()
    w.upload("news.txt", b"news")
    polling.join(timeout=30)
    check(said, "the long poll did not answer in 30 s")
    equal(said, ["new_change"])
    found = w.client.events.get_events(stream_position=str(position))
    check("ITEM_UPLOAD" in json.dumps([each.to_dict() for each in found.entries], default=str), found.entries)


def developer_token(w):
    check(w.authenticated(BoxDeveloperTokenAuth("unused")).users.get_user_me().login)


def ccg(w):
    config = CCGConfig("invented", "invented", enterprise_id="1")
    client = w.authenticated(BoxCCGAuth(config))
    check(client.users.get_user_me().login)
    client.auth.revoke_token(network_session=client.network_session)


def oauth(w):
    auth = BoxOAuth(OAuthConfig("invented", "invented"))
    client = w.authenticated(auth)
    auth.get_tokens_authorization_code_grant("code", network_session=client.network_session)
    check(client.users.get_user_me().login)
    auth.token_storage.store(AccessToken(access_token="stale", refresh_token="invented"))
    auth.refresh_token(network_session=client.network_session)
    check(client.users.get_user_me().login)


def trash(w):
    """Restored, then into another folder under another name, then gone for ever."""
    folder = w.client.folders.create_folder("for the trash", CreateFolderParent(id=w.folder)).id
    attributes = UploadFileAttributes(name="trashed.txt", parent=UploadFileAttributesParentField(id=folder))
    file = w.client.uploads.upload_file(attributes, io.BytesIO(b"some text")).entries[0].id
    w.client.files.delete_file_by_id(file)
    check(w.client.trashed_files.get_trashed_file_by_id(file).trashed_at)
    equal(w.client.trashed_files.restore_file_from_trash(file).parent.id, folder)
    w.client.files.delete_file_by_id(file)
    w.client.folders.delete_folder_by_id(folder)
    listed = w.client.trashed_items.get_trashed_items(usemarker=True, limit=1000).entries
    check({file, folder} <= {item.id for item in listed}, listed)
    w.client.trashed_folders.delete_trashed_folder_by_id(folder)
    parent = RestoreFileFromTrashParent(id=w.folder)
    restored = w.client.trashed_files.restore_file_from_trash(file, name="restored.txt", parent=parent)
    equal((restored.name, restored.parent.id), ("restored.txt", w.folder))
    w.client.files.delete_file_by_id(file)
    w.client.trashed_files.delete_trashed_file_by_id(file)


def ai(w):
    asked = w.client.ai.create_ai_ask(
        CreateAiAskMode.SINGLE_ITEM_QA,
        "What is it about?",
        [AiItemAsk(id=w.file, type=AiItemAskTypeField.FILE)],
        include_citations=True,
    )
    check(asked.answer and asked.completion_reason == "done", asked)
    equal(asked.citations[0].id, w.file)
    check(w.client.ai.create_ai_text_gen("Write a letter.", [CreateAiTextGenItems(id=w.file)]).answer)
    items = [AiItemBase(id=w.file)]
    check(w.client.ai.create_ai_extract("vendor, amount", items).answer)
    fields = [CreateAiExtractStructuredFields(key="vendor", type="string")]
    extracted = w.client.ai.create_ai_extract_structured(items, fields=fields)
    check("vendor" in extracted.answer, extracted)
    equal(w.client.ai.get_ai_agent_default_config(GetAiAgentDefaultConfigMode.ASK).type, "ai_agent_ask")


def delete(w):
    w.client.files.delete_file_by_id(w.file)
    names = [item.name for item in w.client.folders.get_folder_items(w.folder).entries]
    check("a.txt" not in names, names)


def delete_all(w):
    """The SDK writes `recursive=True`."""
    w.client.folders.delete_folder_by_id(w.folder, recursive=True)
    names = [item.name for item in w.client.folders.get_folder_items("0").entries]
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
    developer_token,
    ccg,
    oauth,
    trash,
    ai,
    delete,
    delete_all,
]
workflow.run(STEPS, Workflow)
