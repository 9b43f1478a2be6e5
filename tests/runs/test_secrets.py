"""Secrets of the environment enter neither records nor reports."""

from __future__ import annotations

import pytest
from commands import Finished, bench

SECRETS = {
    "HF_TOKEN": "hf_abcdefghijklmnop",
    "WANDB_API_KEY": "0123456789abcdef0123",
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENG",
    "MLFLOW_TRACKING_PASSWORD": "correct-horse-battery",
}


def test_no_file_of_a_run_holds_a_secret(own: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    for path in (own.cache / "cells").rglob("*.json"):  # so that cells are measured again
        path.unlink()
    result = bench(*own.command, "--cache-dir", own.cache, "--out", own.out)
    assert result.code == 0, result.err
    files = [p for folder in (own.out, own.cache) for p in folder.rglob("*") if p.is_file()]
    content = b"".join(path.read_bytes() for path in files) + (result.out + result.err).encode()
    assert not [name for name, value in SECRETS.items() if value.encode() in content]
