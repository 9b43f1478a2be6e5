"""Whether Hugging Face's hub can be reached."""

from __future__ import annotations

import os
import socket
import sys
from urllib.parse import urlsplit


def go_offline_without_network() -> None:
    """Set Hugging Face's offline mode if its host cannot be resolved.

    Otherwise its client would spend about a minute on retries.

    Examples
    --------
    >>> from bench.models.sources.network import go_offline_without_network
    >>> go_offline_without_network()
    """
    host = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co")).hostname
    proxied = any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"))
    if not proxied:
        try:
            socket.getaddrinfo(host, 443)
        except OSError:
            os.environ.setdefault("HF_HUB_OFFLINE", "1")
            read = sys.modules.get("huggingface_hub.constants")  # it reads the variable once
            if read is not None and os.environ["HF_HUB_OFFLINE"] == "1":
                vars(read)["HF_HUB_OFFLINE"] = True
