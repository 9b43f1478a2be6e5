"""Claims on S3: who holds them, when they are void, and servers that cannot keep them apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from buckets import S3, remote_files

from bench.core.errors import InputError
from bench.core.store.bucket import Bucket, check_writable_bucket, open_bucket
from bench.core.store.claims import this_process


def test_claims_hold_between_machines(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = s3.store("one"), s3.store("other")
    with one.claims.held(["weights-1", "weights-2"]) as got:
        assert got == ["weights-1", "weights-2"]
        with other.claims.held(["weights-2", "weights-3"]) as rest:
            assert rest == ["weights-3"]
            s3.clear()
            assert not other.claims.take("weights-2") and s3.asked == []  # not asked each time
        assert set(s3.objects()) == {"claims/weights-1", "claims/weights-2"}
    assert s3.objects() == {}
    monkeypatch.setattr("bench.core.store.remote_claims.ASK", 0.0)
    assert other.claims.take("weights-2")


def put_claim(s3: S3, host: str, pid: int, mark: float = 0.0) -> None:
    text = json.dumps([host, pid, "token", mark]).encode()
    s3.system.pipe_file(f"{s3.address()}/claims/weights-1", text)


def test_a_claim_of_a_process_here_that_is_gone_is_taken_over_at_once(s3: S3) -> None:
    put_claim(s3, this_process()[0], 2**22 + 1)
    store = s3.store("one")
    assert store.claims.take("weights-1")
    assert json.loads(s3.objects()["claims/weights-1"])[1] == os.getpid()


def test_a_claim_of_a_process_here_that_ends_meanwhile_is_taken_over(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.core.store.remote_claims.ASK", 0.0)
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    put_claim(s3, this_process()[0], process.pid)
    store = s3.store("one")
    assert not store.claims.take("weights-1") and not store.claims.take("weights-1")
    process.communicate()
    assert store.claims.take("weights-1")


def test_a_claim_of_another_machine_is_void_once_it_stays_the_same(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("ASK", 0.0), ("LEASE", 0.3)):
        monkeypatch.setattr(f"bench.core.store.remote_claims.{name}", value)
    store = s3.store("one")
    for mark in range(3):
        put_claim(s3, "elsewhere", 1, mark)
        assert not store.claims.take("weights-1")
        time.sleep(0.2)
    assert not store.claims.take("weights-1")  # it has changed 0.2 s ago
    time.sleep(0.3)
    assert store.claims.take("weights-1")


def test_a_held_claim_is_written_again_and_a_lost_one_is_not_removed(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.core.store.remote_claims.BEAT", 0.05)
    store = s3.store("one")
    assert store.claims.take("weights-1")
    before = s3.objects()["claims/weights-1"]
    time.sleep(0.4)
    assert s3.objects()["claims/weights-1"] != before
    monkeypatch.setattr("bench.core.store.remote_claims.BEAT", 100.0)
    time.sleep(0.1)
    put_claim(s3, "elsewhere", 1)
    monkeypatch.setattr("bench.core.store.remote_claims.LEASE", 0.0)  # it lost touch
    store.claims.release("weights-1")
    assert "claims/weights-1" in s3.objects()


def test_claims_that_cannot_be_written_hinder_nobody(
    s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise InputError("may not write")

    monkeypatch.setattr(Bucket, "create", refuse)
    assert s3.store("one").claims.take("weights-1")


def test_a_store_without_conditional_writes_is_said_to_be_one(
    s3: S3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bucket = open_bucket(s3.address())
    check_writable_bucket(bucket)
    assert caplog.text == ""
    monkeypatch.setattr(Bucket, "create", Bucket.put)
    check_writable_bucket(bucket)
    assert "does not know conditional writes" in caplog.text and s3.objects() == {}


@pytest.mark.parametrize("code", ["PreconditionFailed", "NotImplemented"])
def test_servers_that_answer_conditional_writes_otherwise(
    code: str, s3: S3, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Some do not name the condition that failed; some know none, and no claim waits for them."""
    from botocore.exceptions import ClientError
    from s3fs.errors import translate_boto_error

    store, asked = s3.store("one"), list[str]()
    bucket = remote_files(store).bucket
    plain = type(bucket.system)._call_s3

    async def answering(system: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        if "IfNoneMatch" in kwargs:
            asked.append(kwargs["Key"])
            if code == "NotImplemented" or await system._exists(f"{s3.bucket}/{kwargs['Key']}"):
                answer = {"Error": {"Code": code, "Message": "no"}}
                raise translate_boto_error(ClientError(answer, "PutObject"))
        return await plain(system, method, *args, **kwargs)

    monkeypatch.setattr(type(bucket.system), "_call_s3", answering)
    check_writable_bucket(bucket)
    knows = code == "PreconditionFailed"
    assert caplog.text == "" if knows else "refuses conditional writes" in caplog.text
    assert store.claims.take("weights-1")
    assert len(asked) == 2 and ("claims/weights-1" in s3.objects()) == knows
