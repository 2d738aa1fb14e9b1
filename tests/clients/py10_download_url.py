"""A URL for a download that is handed on, by Box's SDK for Python 10: it wants a redirect.

    PYTHON py10_download_url.py BASE_URL

The gateway in front must have follow_downloads = "rewrite". One JSON line for each step.
"""

import io
import json
import sys

from box_sdk_gen import BoxClient
from box_sdk_gen.managers.uploads import UploadFileAttributes, UploadFileAttributesParentField
from box_sdk_gen.networking import BaseUrls, NetworkSession
from workflow import check, plain_get, unique

CONTENT = b"Text that goes up and comes down."

base = sys.argv[1]
urls = BaseUrls(base_url=base, upload_url=base + "/api", oauth_2_url=base + "/oauth2")
client = BoxClient(auth=None, network_session=NetworkSession(base_urls=urls))
attributes = UploadFileAttributes(name=unique("a.txt"), parent=UploadFileAttributesParentField(id="0"))
file = client.uploads.upload_file(attributes, io.BytesIO(CONTENT)).entries[0]

url = client.downloads.get_download_file_url(file.id)
check(plain_get(base, url) == CONTENT, "the URL leads to other content")
print(json.dumps({"step": "url", "ok": True}))
check(client.downloads.download_file(file.id).read() == CONTENT, "the redirect leads to other content")
print(json.dumps({"step": "download", "ok": True}))
