"""Locations: paths on this machine, and URLs that pathlib must not alter."""

import pickle
from pathlib import Path

import pytest

from calbatch.models.errors import FileError
from calbatch.models.storage.location import Url, location, scrub_secrets

RAW = "s3://bucket/raw/a_uncal.fits"


def test_a_url_keeps_its_slashes_and_has_the_attributes_of_a_path():
    url = location(RAW)
    assert str(url) == RAW
    assert (url.name, str(url.parent)) == ("a_uncal.fits", "s3://bucket/raw")
    assert str(url.parent / "b.fits") == str(url.with_name("b.fits")) == "s3://bucket/raw/b.fits"
    assert str(location("s3://bucket/raw/") / "c.fits") == "s3://bucket/raw/c.fits"
    assert url == url.absolute() == url.resolve() == location(url)
    assert pickle.loads(pickle.dumps(url)) == url


def test_a_bucket_is_its_own_parent():
    bucket = Url("s3://bucket")
    assert (bucket.name, bucket.parent) == ("", bucket)
    assert (bucket / "a.fits").parent == bucket


@pytest.mark.parametrize("text", ["a.fits", "/data/a.fits", "s3:", "data/s3:/a.fits", "a:/b"])
def test_other_texts_are_paths(text):
    assert location(text) == Path(text)


@pytest.mark.parametrize("text", ["file:///data/a.fits", "local:///data/a.fits"])
def test_urls_of_local_files_are_paths(text):
    assert location(text) == Path("/data/a.fits")


def test_a_url_that_pathlib_altered_is_rejected():
    with pytest.raises(FileError, match=r"s3:/bucket/raw/a_uncal\.fits: is a URL that lost a sla"):
        location(Path(RAW))


def test_a_folder_may_have_the_name_of_a_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:").mkdir()
    assert location("s3:/a.fits") == Path("s3:/a.fits")


@pytest.mark.parametrize("text", ["s3://me:pass-word@host/a.fits", "https://me:pass-word@host/a"])
def test_passwords_are_rejected_and_not_repeated(text):
    with pytest.raises(FileError, match=r"://\*\*\*@host/a.*: must not have a password") as caught:
        location(text)
    assert "pass-word" not in f"{caught.value!r} {caught.value}"


def test_a_password_in_an_altered_url_is_not_repeated():
    with pytest.raises(FileError) as caught:
        location(Path("s3://me:pass-word@host/a.fits"))
    assert "pass-word" not in f"{caught.value!r} {caught.value}"


def test_an_account_name_is_accepted():
    assert location("abfs://container@account.example/a.fits").name == "a.fits"


def test_queries_are_rejected_and_not_repeated():
    with pytest.raises(FileError, match="must not have a query") as caught:
        location("https://host/a.fits?X-Amz-Signature=0123abcd")
    assert "0123abcd" not in f"{caught.value!r}"


def test_a_url_cannot_contain_line_breaks():
    with pytest.raises(FileError) as caught:
        location("s3://bucket/a\nfake line")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "no answer from http://me:pass-word@proxy:80/",
        "GET https://host/a?X-Amz-Signature=pass-word&X-Amz-Expires=5",
        "X-Amz-Security-Token=pass-word",
        "aws_secret_access_key=pass-word",
    ],
)
def test_secrets_are_removed_from_texts(text):
    assert "***" in scrub_secrets(text)
    assert "pass-word" not in scrub_secrets(text)


def test_texts_without_secrets_are_unchanged():
    text = "reading s3://bucket/a@b:c.fits failed: no key 'a' at 12:30"
    assert scrub_secrets(text) == text
