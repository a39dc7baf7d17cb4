"""Tests ``cli/serve.py``: what is refused before any work, keys, and ``--check``."""

import json
import socket

import pytest


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    monkeypatch.delenv("SPLINELENS_API_KEY", raising=False)


def test_check_prints_what_would_be_served(run, detector, tmp_path, caplog):
    (tmp_path / "keys").write_text("# two\none\n\ntwo\n")
    (tmp_path / "keys").chmod(0o600)
    arguments = ["--check", "--detector", detector, "--key-file", tmp_path / "keys", "--host", "0.0.0.0"]
    printed = json.loads(run("serve", *arguments).stdout)
    assert (printed["keys"], printed["engine"], printed["calibrated"]) == (2, "torch", [])
    (one,) = printed["detectors"].values()
    assert (one["labels"], one["task"]) == (["toxic"], "binary")
    assert not caplog.records


def test_a_port_in_use_is_one_line(run):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        refused = run("serve", "--port", port, code=1).stderr
    assert refused.startswith(
        f"Error: cannot listen at port {port} of 127.0.0.1: address already in use; stop"
    )


def test_other_machines_need_a_key(run, monkeypatch):
    for host in ("0.0.0.0", "::", "192.0.2.7", "example.org"):
        assert "give --key-file, set" in run("serve", "--check", "--host", host, code=2).stderr
    for arguments in (["--insecure"], []):
        if not arguments:
            monkeypatch.setenv("SPLINELENS_API_KEY", "secret")
        refused = run(
            "serve", "--host", "0.0.0.0", "--check", "--detector", "none", *arguments, code=1
        ).stderr
        assert "no detector and no folder 'none'" in refused


def test_a_key_file_without_a_key_or_that_is_not_there_is_refused(run, tmp_path):
    (tmp_path / "keys").write_text("# none yet\n\n")
    assert "has no key; write one a line" in run("serve", "--key-file", tmp_path / "keys", code=1).stderr
    assert "cannot use" in run("serve", "--key-file", tmp_path / "no", code=1).stderr


def test_a_key_file_that_others_can_read_is_warned_of(run, tmp_path, caplog):
    (tmp_path / "keys").write_text("one\n")
    (tmp_path / "keys").chmod(0o640)
    run("serve", "--check", "--detector", "none", "--key-file", tmp_path / "keys", code=1)
    assert "can be read by others; run chmod 600 on it" in caplog.text


def test_a_calibration_that_is_none_is_refused(run, detector, tmp_path):
    (tmp_path / "maps.json").write_text("{}")
    arguments = ["--check", "--detector", detector, "--calibration", tmp_path / "maps.json"]
    assert "is no calibration file" in run("serve", *arguments, code=1).stderr


def test_a_key_file_that_is_no_text_is_refused_and_a_byte_order_mark_is_no_part_of_a_key(
    run, detector, tmp_path
):
    (tmp_path / "keys").write_bytes(b"\xac\xed")
    assert "is not UTF-8 at byte 0" in run("serve", "--key-file", tmp_path / "keys", code=1).stderr
    (tmp_path / "keys").write_bytes(b"\xef\xbb\xbf")
    assert "has no key" in run("serve", "--key-file", tmp_path / "keys", code=1).stderr


def test_a_host_that_is_no_name_is_one_line(run):
    for host in ("a..b", f"{'a' * 80}.com"):
        refused = run("serve", "--insecure", "--host", host, code=1).stderr
        assert refused.startswith("Error: cannot listen at port 8000")


def test_an_upstream_is_checked_and_printed_without_its_key(run, detector, tmp_path, monkeypatch):
    monkeypatch.setenv("SPLINELENS_UPSTREAM_KEY", "secret")
    url = "http://127.0.0.1:1/v1"
    checked = run("serve", "--check", "--detector", detector, "--upstream", url, "--release", "all")
    assert json.loads(checked.stdout)["upstream"] == url
    assert "secret" not in checked.stdout + checked.stderr
    for wrong in ("127.0.0.1:11434", "ftp://host/v1", "http://", "http://host:99999"):
        assert "give a URL such as" in run("serve", "--upstream", wrong, code=2).stderr
    refused = run("serve", "--upstream", "http://user:pass@host/v1", code=2).stderr
    assert "--upstream-key-file" in refused
    assert "pass" not in refused
    (tmp_path / "keys").write_text("one\ntwo\n")
    several = run("serve", "--upstream", url, "--upstream-key-file", tmp_path / "keys", code=1).stderr
    assert "has 2 keys" in several
