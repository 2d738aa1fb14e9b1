"""llama-index-readers-box as its documentation has it; the token may be any text."""

import importlib.metadata
from io import BytesIO
from pathlib import Path

from box_sdk_gen import BoxClient, BoxDeveloperTokenAuth
from box_sdk_gen.managers.uploads import UploadFileAttributes, UploadFileAttributesParentField
from llama_index.readers.box import BoxReader
from llama_index.readers.box.BoxAPI import box_api

TEXT = "Plain text that a reader turns into a document."

client = BoxClient(auth=BoxDeveloperTokenAuth(token="any"))
attributes = UploadFileAttributes(name="llama.txt", parent=UploadFileAttributesParentField(id="0"))
file = client.uploads.upload_file(attributes, BytesIO(TEXT.encode())).entries[0]

reader = BoxReader(box_client=client)
assert file.id in reader.list_resources(folder_id="0")
documents = reader.load_data(file_ids=[file.id])
assert [document.text for document in documents] == [TEXT], documents
assert reader.read_file_content(Path(file.id)) == TEXT.encode()
# What BoxReaderAIPrompt and BoxReaderAIExtract call, which themselves assign `Document.text`.
files = box_api.get_box_files_details(box_client=client, file_ids=[file.id])
for ask in (box_api.get_ai_response_from_box_files, box_api.get_files_ai_extract_data):
    answered = ask(box_client=client, box_files=files, ai_prompt="What is it about?")
    assert "What is it about?" in answered[0].ai_response, answered
print(importlib.metadata.version("llama-index-readers-box"))
