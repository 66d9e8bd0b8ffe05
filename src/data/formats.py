"""What kind of file a recording is, by how it begins; what cannot be read is named, with the way to convert it."""

import zipfile
from pathlib import Path
from typing import NoReturn

from src.utils.exceptions import InputError
from src.utils.files import looked_for

NWB, ARCHIVE, TEXT = "nwb", "archive", "csv"
ZIP = b"PK\x03\x04"
HDF5 = b"\x89HDF\r\n\x1a\n"
RECORDING = "an NWB file, a CSV file or a NumPy archive of spike times"
UNPACK = "unpack it first"
AS_TEXT = "save it as CSV (text), with the columns time and unit"
TABLE_AS_TEXT = "save the table as CSV (text)"
AS_ARCHIVE = "save spike times and units as a NumPy archive, see docs/data.md"

FOREIGN: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a pointer of git-lfs, not the file itself", "fetch it: git lfs pull"),
    (b"/annex/objects/", "a pointer of git-annex, not the file itself", "fetch it: datalad get, or git annex get"),
    (b"../.git/annex/", "a pointer of git-annex, not the file itself", "fetch it: datalad get, or git annex get"),
    (
        b"\x93NUMPY",
        "a single NumPy array (.npy)",
        'put arrays together: np.savez("my.npz", spike_times=np.load(...), spike_unit=np.load(...))',
    ),
    (b"MATLAB 7.3", "a MATLAB file of version 7.3", f"read it with h5py or the package mat73, and {AS_ARCHIVE}"),
    (b"MATLAB", "a MATLAB file", f"read it with scipy.io.loadmat, and {AS_ARCHIVE}"),
    (b"\xd0\xcf\x11\xe0", "an Excel file (.xls) or another old Office file", AS_TEXT),
    (b"\x1f\x8b", "a file packed by gzip", f"{UNPACK}: gunzip"),
    (b"BZh", "a file packed by bzip2", f"{UNPACK}: bunzip2"),
    (b"\xfd7zXZ", "a file packed by xz", f"{UNPACK}: unxz"),
    (b"\x28\xb5\x2f\xfd", "a file packed by zstd", f"{UNPACK}: unzstd"),
    (b"7z\xbc\xaf", "a 7-Zip archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"PAR1", "a Parquet file", f'read it with pandas, and {AS_TEXT}: frame.to_csv("my.csv", index=False)'),
    (b"ARROW1", "an Arrow or Feather file", f'read it with pandas, and {AS_TEXT}: frame.to_csv("my.csv", index=False)'),
    (b"FEA1", "a Feather file", f'read it with pandas, and {AS_TEXT}: frame.to_csv("my.csv", index=False)'),
    (b"SQLite format 3", "an SQLite data base", AS_TEXT),
    (b"RDX", "a file of R", f"in R, {AS_TEXT}: write.csv(frame, 'my.csv', row.names=FALSE)"),
    (b"PLEX", "a Plexon file (.plx)", f"read it with the package neo, and {AS_ARCHIVE}"),
    (b"NEX", "a NeuroExplorer file (.nex)", f"read it with the package neo, and {AS_ARCHIVE}"),
    (b"NEURALEV", "a Blackrock file (.nev)", f"read it with the package neo, and {AS_ARCHIVE}"),
    (b"NEURALCD", "a Blackrock file (.nsx)", f"sort its spikes, and {AS_ARCHIVE}"),
    (b"######## Neuralynx", "a Neuralynx file", f"read it with the package neo, and {AS_ARCHIVE}"),
    (b"%PDF", "a PDF document", AS_TEXT),
    (b"\x89PNG", "a picture", AS_TEXT),
    (b"<!doctype html", "a web page, perhaps of a download that asked for a login", "download the file itself"),
    (b"<html", "a web page, perhaps of a download that asked for a login", "download the file itself"),
    (b"<?xml", "an XML file", AS_TEXT),
    (b"{\\rtf", "a text document (RTF)", AS_TEXT),
    (b"{", "a JSON file", AS_TEXT),
    (b"[{", "a JSON file", AS_TEXT),
    (b"[[", "a JSON file", AS_TEXT),
    (b"(dp", "a pickle of an old protocol", AS_ARCHIVE),
    (b"(lp", "a pickle of an old protocol", AS_ARCHIVE),
    (b"}q\x00", "a pickle of an old protocol", AS_ARCHIVE),
    (b"]q\x00", "a pickle of an old protocol", AS_ARCHIVE),
)
"""First bytes (in lower case for text), what such a file is, and what to do about it."""

OFFICE = (
    ("xl/", "an Excel workbook (.xlsx)"),
    ("word/", "a Word document (.docx)"),
    ("content.xml", "an OpenDocument file, such as a LibreOffice spreadsheet (.ods)"),
    ("Index/", "a Numbers spreadsheet"),
)
"""What a zip archive holds that is no NumPy archive."""


def kind_of(path: str) -> str:
    """Return whether a recording is in NWB format, an archive of arrays (NumPy's or pickled), or text.

    Raises
    ------
    InputError
        The file cannot be read, is empty of bytes that say anything, or of a kind that is not read: names the kind, and
        what to do about it.
    """
    head = head_of(path)
    suffix = Path(path).suffix.lower()
    if head.startswith(HDF5) and suffix not in (".mat", ".h5ad", ".keras"):
        return NWB
    refuse_foreign(path, head)
    if head.startswith(ZIP):
        return ARCHIVE
    if suffix == ".nwb":
        what = "an empty file" if not head else "a file without the signature of HDF5; perhaps its download broke off"
        raise InputError(f"{path}: expected an NWB file, got {what}")
    return ARCHIVE if head.startswith(b"\x80") or suffix == ".npz" else TEXT


def head_of(path: str | Path) -> bytes:
    """Return the first bytes of a file; InputError if it cannot be read."""
    if Path(path).is_dir():
        zarr = any(Path(path, name).exists() for name in (".zgroup", "zarr.json", ".zattrs"))
        hint = "; it is an NWB file in Zarr format: export it to HDF5 with pynwb" if zarr else ""
        raise InputError(f"{path}: cannot be read (Is a directory){hint}")
    try:
        with Path(path).open("rb") as file:
            return file.read(600)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}){looked_for(path)}") from None


def refuse_foreign(path: str | Path, head: bytes, expected: str = RECORDING) -> None:
    """Raise an error about a file of a kind that is known and not read."""

    def refuse(what: str, advice: str) -> NoReturn:
        if expected != RECORDING:  # a table beside the spikes has other columns, and no archive holds it
            advice = advice.replace(AS_TEXT, TABLE_AS_TEXT).replace(AS_ARCHIVE, TABLE_AS_TEXT)
        raise InputError(f"{path}: expected {expected}, got {what}; {advice}")

    suffix, plain = Path(path).suffix.lower(), head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if head.startswith(HDF5):
        if suffix == ".mat":
            refuse("a MATLAB file of version 7.3", f"read it with h5py or the package mat73, and {AS_ARCHIVE}")
        refuse("an NWB file" if suffix == ".nwb" else f"an HDF5 file that is no NWB file ({suffix})", AS_ARCHIVE)
    for signature, what, advice in FOREIGN:
        if head.startswith(signature) or plain.startswith(signature):
            refuse(what, advice)
    if head[257:262] == b"ustar":
        refuse("a tar archive", UNPACK)
    if head.startswith(ZIP):
        if foreign := _in_zip(path):
            refuse(*foreign)
        if expected != RECORDING:
            refuse("a NumPy archive", AS_TEXT)
    elif head.startswith(b"PK"):
        refuse("an empty or split zip archive", UNPACK)
    if head.startswith(b"\x80") and expected != RECORDING:
        refuse("a pickle", AS_TEXT)
    if suffix == ".mat" and b"\x00" in head:
        refuse("a MATLAB file", f"read it with scipy.io.loadmat, and {AS_ARCHIVE}")


def _in_zip(path: str | Path) -> tuple[str, str] | None:
    """Return what a zip archive that holds no arrays is, and what to do about it; None of a broken one, too."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None  # its reader says so
    if not names or any(name.endswith(".npy") for name in names):
        return None
    for inside, what in OFFICE:
        if any(name.startswith(inside) for name in names):
            return what, AS_TEXT
    return f"a zip archive of {names[0]}" + (" and others" if len(names) > 1 else ""), UNPACK
