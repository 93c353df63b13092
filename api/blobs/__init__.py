"""Content-addressed blobs: named by their SHA-256, in a folder or in a bucket of S3."""

from __future__ import annotations

from urllib.parse import urlsplit

from api.blobs.folder import FolderBlobs
from api.blobs.parts import Part, Parts, too_large
from api.blobs.store import Blobs, Listed
from api.settings import Settings

__all__ = ["Blobs", "FolderBlobs", "Listed", "Part", "Parts", "blobs_of", "too_large"]


def blobs_of(settings: Settings) -> Blobs:
    """The store that the settings name."""
    url = urlsplit(settings.blob_url)
    if url.scheme != "s3":
        return FolderBlobs(settings.blob_folder)
    from api.blobs.s3 import S3Blobs  # needs no library where the blobs are files

    parts = Parts(settings.blob_folder / "parts")
    return S3Blobs(url.netloc, url.path.strip("/"), parts, settings.blob_public_endpoint)
