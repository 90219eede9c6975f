"""Where blobs may be: one spelling for each place, and a manifest cannot lead a reader anywhere else."""

import pytest

from service.contract.blob_location import BlobLocationError, normal_location, require_allowed


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("", "redis"),
        ("redis", "redis"),
        ("/srv/blobs", "file:///srv/blobs"),
        ("/srv//blobs/", "file:///srv/blobs"),
        ("file:///srv/blobs", "file:///srv/blobs"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("memory://x/y", "memory://x/y"),
        ("https://host:8443/a", "https://host:8443/a"),
    ],
)
def test_one_spelling(text: str, normal: str) -> None:
    assert normal_location(text) == normal
    assert normal_location(normal) == normal


@pytest.mark.parametrize(
    "text",
    [
        *("blobs", "./blobs", "../blobs", "~/blobs", "/", "//", "file:///", "file://host/blobs", "s3://", "s3:/bucket"),
        *("/srv/../etc", "/srv/./blobs", "/srv/..", "s3://bucket/../other", "/srv/%2e%2e/etc", "/srv/a b", "/srv/a\nb"),
        *("s3://b?key=1", "s3://b#x", "simplecache::s3://b", "S3://b", "1s://b", "/srv/a\\b", "redis ", "/srv/a\x00b"),
    ],
)
def test_what_is_no_place_is_refused_with_the_cure(text: str) -> None:
    with pytest.raises(BlobLocationError, match=r"blobs cannot be at .*; write an absolute path or a URL such as"):
        normal_location(text)


@pytest.mark.parametrize("text", ["https://user:hunter2@host/a", "s3://hunter2@bucket", "s3://a:hunter2@b?x=1"])
def test_credentials_are_refused_and_not_repeated(text: str) -> None:
    """They would stand in every manifest."""
    with pytest.raises(BlobLocationError) as caught:
        normal_location(text)
    assert "hunter2" not in str(caught.value)


def is_refused(location: str, allowed: str) -> bool:
    try:
        require_allowed(location, allowed)
    except BlobLocationError:
        return True
    return False


@pytest.mark.parametrize(
    ("location", "allowed"),
    [
        ("redis", "redis"),
        ("redis", "s3://bucket/a"),
        ("s3://bucket/a", "s3://bucket/a"),
        ("s3://bucket/a/2026", "s3://bucket/a"),
        ("s3://bucket/a", "s3://bucket"),
        ("file:///srv/blobs/x", "file:///srv/blobs"),
    ],
)
def test_what_was_allowed_is_read(location: str, allowed: str) -> None:
    assert not is_refused(location, allowed)


@pytest.mark.parametrize(
    ("location", "allowed"),
    [
        ("s3://bucket/a", "redis"),
        ("file:///etc", "redis"),
        ("s3://bucket/ab", "s3://bucket/a"),
        ("s3://bucket", "s3://bucket/a"),
        ("s3://bucket-2/a", "s3://bucket"),
        ("http://bucket/a", "s3://bucket"),
        ("s3://bucket/a/../b", "s3://bucket/a"),
        ("s3://bucket/a/", "s3://bucket/a"),
        ("s3://bucket/a/x::y", "s3://bucket/a"),
        ("s3://bucket/a/%2e%2e/b", "s3://bucket/a"),
        ("file:///srv/blobs/../../etc", "file:///srv/blobs"),
        ("", "s3://bucket"),
        ("redis2", "s3://bucket"),
    ],
)
def test_a_manifest_leads_nowhere_else(location: str, allowed: str) -> None:
    assert is_refused(location, allowed)


def test_the_refusal_names_both() -> None:
    with pytest.raises(BlobLocationError, match=r"'s3://evil/x', and MMGREC_BLOBS_URL allows file:///srv: set it to"):
        require_allowed("s3://evil/x", "file:///srv")
