"""Download public data sets: resumable, verified by SHA-256, unpacked safely."""

import http.client
import time
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import filelock
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from padseg.data.archives import unpack
from padseg.errors import DataError
from padseg.machine.console import say
from padseg.machine.files import NO_ROOM, hash_file
from padseg.machine.progress import working
from padseg.options import one_of

_CHUNK = 2**20
_TIMEOUT = 60  # seconds without receiving anything
_PAUSES = (1, 2, 4, 8, 16)  # seconds before each further attempt


@dataclass(frozen=True)
class DataSetSource:
    """The source of a data set.

    Attributes:
        url: The archive.
        sha256: SHA-256 of the archive.
        page: Web page of the data set.
        terms: Licence, and what else users should know.
        use: How to use the data set with padseg.
    """

    url: str
    sha256: str
    page: str
    terms: str
    use: str


_NON_COMMERCIAL = "CC BY-NC-SA 4.0: not for commercial use, nor are models trained on it."

SOURCES: dict[str, DataSetSource] = {
    "mvtec_ad": DataSetSource(
        "https://www.mydrive.ch/shares/150996/b52ecdcbf521176e9db9c731f2304b27/download/"
        "420938113-1629960298/mvtec_anomaly_detection.tar.xz",
        "cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
        "https://www.mvtec.com/company/research/datasets/mvtec-ad",
        f"MVTec AD (Bergmann et al., CVPR 2019), {_NON_COMMERCIAL}",
        "--layout mvtec",
    ),
    "mvtec_ad_2": DataSetSource(
        "https://www.mydrive.ch/shares/150997/701c90d3aea6588f404936e32a674602/download/"
        "466712769-1743429042/mvtec_ad_2.tar.gz",
        "c0ded99ef32bfc8e352d52beb44515e5b292b8598cb963aadfa91ca0763505e4",
        "https://www.mvtec.com/company/research/datasets/mvtec-ad-2",
        f"MVTec AD 2 (Heckler-Kram et al., 2025), {_NON_COMMERCIAL}",
        "--layout mvtec_ad_2",
    ),
    "visa": DataSetSource(
        "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
        "2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
        "https://github.com/amazon-science/spot-diff",
        "VisA (Zou et al., ECCV 2022): its terms are in LICENSE-DATASET of the archive.",
        "--layout visa",
    ),
    "btad": DataSetSource(
        "https://avires.dimi.uniud.it/papers/btad/btad.zip",
        "461c9387e515bfed41ecaae07c50cf6b10def647b36c9e31d239ab2736b10d2a",
        "https://github.com/pankajmishra000/VT-ADL",
        f"BTAD (Mishra et al., ISIE 2021), {_NON_COMMERCIAL}",
        "--layout btad",
    ),
    "dtd": DataSetSource(
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
        "e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
        "Describable Textures Dataset (Cimpoi et al., CVPR 2014): for research; see its page.",
        "--textures",
    ),
}


def download(name: str, root: Path, archive: Path | None = None, url: str | None = None) -> Path:
    """Download a data set into `root / name`, completely or not at all, unless it is already there.

    Interrupted downloads are resumed, here or by a second call.

    Args:
        name: One of `SOURCES`.
        root: Folder in which the folder of the data set is made.
        archive: The archive, if it was downloaded by hand.
        url: Another address of the same archive.

    Returns:
        The data set's folder.

    Raises:
        ConfigError: There is no such data set.
        DataError: The archive cannot be downloaded or is not the published one; the message explains how
            to download it by hand.
    """
    one_of("data set", name, SOURCES)
    source, folder = SOURCES[name], root / name
    say(f"{source.terms}\n{source.page}")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root / f".{name}.lock", timeout=0):
            with suppress(OSError):
                folder.rmdir()  # an empty folder has nothing to keep
            if folder.is_file():
                raise DataError(f"{folder} is a file: move it, or pass another --root.")
            state = "is there already, and was not checked"
            if not folder.exists():
                _make(source, name, folder, archive, url)
                state = "is complete"
    except filelock.Timeout as error:
        raise DataError(f"{folder} is being made by another process: wait for it.") from error
    except OSError as error:
        raise DataError(f"{folder} cannot be written ({error}): pass another --root.") from error
    say(f"{folder} {state}: {source.use}")
    return folder


def _make(
    source: DataSetSource, name: str, folder: Path, archive: Path | None, url: str | None
) -> None:
    part = folder.with_name(f".{name}.part") if archive is None else archive
    by_hand = (
        f"fetch it by hand from {source.page} and run padseg download {name} --root {folder.parent} "
        "--archive FILE"
    )
    if archive is None:
        try:
            _fetch(url or source.url, part)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if _no_room(error):
                raise
            raise DataError(
                f"{name} cannot be fetched from {url or source.url} ({error}): repeat the command to resume, "
                f"or {by_hand}."
            ) from error
    elif not archive.is_file():
        raise DataError(f"archive {archive} does not exist: pass the file that you fetched.")
    with working(f"Checking and unpacking {name}"):
        if hash_file(part) != source.sha256:
            wrong = f"is not {name} as published: its SHA-256 is not {source.sha256}"
            if archive is not None:
                raise DataError(f"archive {archive} {wrong}; fetch it again from {source.page}.")
            part.unlink()
            raise DataError(
                f"what {url or source.url} sent {wrong}; it was deleted: repeat the command, or {by_hand}."
            )
        unpack(part, folder)
    if archive is None:
        part.unlink()


def _fetch(url: str, part: Path) -> None:
    """Download the rest of `part`, however much of it there is.

    Raises:
        OSError: The server cannot be reached, refuses, or stops sending again and again.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError("only http and https addresses are supported")
    columns = (TextColumn(part.name[1:-5]), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn()) as progress:
        task = progress.add_task(url, total=None)
        pauses = iter(_PAUSES)
        while True:
            before = part.stat().st_size if part.exists() else 0
            try:
                if _fetch_once(url, part, progress, task):
                    return
                error: Exception = ConnectionError("the transfer was cut off")
            except urllib.error.HTTPError as refusal:
                if refusal.code < 500:
                    raise
                error = refusal
            except (OSError, http.client.HTTPException) as broken:
                if _no_room(broken):
                    raise
                error = broken
            if part.exists() and part.stat().st_size > before:
                pauses = iter(_PAUSES)  # it goes on, if in pieces
            pause = next(pauses, None)
            if pause is None:
                raise error
            time.sleep(pause)


def _no_room(error: Exception) -> bool:
    """Whether the disk is full, so that waiting does not help."""
    return isinstance(error, OSError) and error.errno in NO_ROOM


def _fetch_once(url: str, part: Path, progress: Progress, task: TaskID) -> bool:
    """Request the rest of `part`; return whether it is complete afterwards."""
    start = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "padseg"})  # noqa: S310
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        answer = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE or not start:
            raise
        return True  # nothing is missing, or there is too much: the checksum decides
    with answer:
        goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
        if goes_on and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise ConnectionError("the server sent a different byte range than requested")
        start = start if goes_on else 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        progress.update(task, total=total, completed=start)
        with part.open("ab" if goes_on else "wb") as file:
            while chunk := answer.read(_CHUNK):
                file.write(chunk)
                progress.update(task, advance=len(chunk))
            return total is None or file.tell() >= total
