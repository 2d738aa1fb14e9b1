"""langchain-box as its documentation has it; the token may be any text."""

import importlib.metadata

from box_sdk_gen import BoxClient, BoxDeveloperTokenAuth
from box_sdk_gen.managers.uploads import UploadFileAttributes, UploadFileAttributesParentField
from io import BytesIO

from langchain_box.blob_loaders import BoxBlobLoader
from langchain_box.document_loaders import BoxLoader
from langchain_box.retrievers import BoxRetriever

TEXT = "Plain text that a loader turns into a document."

client = BoxClient(auth=BoxDeveloperTokenAuth(token="any"))
attributes = UploadFileAttributes(name="langchain.txt", parent=UploadFileAttributesParentField(id="0"))
file = client.uploads.upload_file(attributes, BytesIO(TEXT.encode())).entries[0]

documents = BoxLoader(box_developer_token="any", box_file_ids=[file.id]).load()
assert [document.page_content for document in documents] == [TEXT], documents
blobs = list(BoxBlobLoader(box_developer_token="any", box_file_ids=[file.id]).yield_blobs())
assert [blob.as_bytes() for blob in blobs] == [TEXT.encode()], blobs
answers = BoxRetriever(box_developer_token="any", box_file_ids=[file.id]).invoke("What is it about?")
assert "What is it about?" in answers[0].page_content, answers
print(importlib.metadata.version("langchain-box"))
