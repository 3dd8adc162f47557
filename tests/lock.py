"""Lock every package for every system, and check that there is a wheel of each.

    python tests/lock.py            # renews constraints.txt from requirements.txt, and checks it
    python tests/lock.py --check    # checks it only

It asks the registry by uv, which it installs into an environment of its own; CI does not run it.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS, CONSTRAINTS = ROOT / "requirements.txt", ROOT / "constraints.txt"
HEAD = "# Every package, for every Python and system of the README: made by tests/lock.py.\n"
SYSTEMS = {  # as in start.py, as uv calls them, and the oldest macOS
    "Linux x86-64": ("x86_64-manylinux_2_28", ""),
    "Linux arm64": ("aarch64-manylinux_2_28", ""),
    "macOS Intel": ("x86_64-apple-darwin", "10.15"),
    "macOS arm64": ("aarch64-apple-darwin", "11.0"),
    "Windows x86-64": ("x86_64-pc-windows-msvc", ""),
}


def pythons() -> list[str]:
    """Return the versions of Python that pyproject.toml allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    first, end = re.findall(r"3\.(\d+)", project["requires-python"])
    return [f"3.{minor}" for minor in range(int(first), int(end))]


def compiled(
    python: Path, text: str, *options: str, macos: str = ""
) -> subprocess.CompletedProcess:
    """Return what uv makes of requirements, from wheels only, as [tool.uv] of the project says."""
    command = [python, "-m", "uv", "pip", "compile", "-", "--quiet", "--no-header", "--no-annotate"]
    return subprocess.run(
        [*command, *options],
        input=text,
        cwd=ROOT,
        env=os.environ | ({"MACOSX_DEPLOYMENT_TARGET": macos} if macos else {}),
        capture_output=True,
        text=True,
        check=False,
    )


def main() -> int:
    """Run the command line; return 1 if something has no wheel."""
    parser = argparse.ArgumentParser(description="Lock every package, and check the wheels.")
    parser.add_argument("--check", action="store_true", help="leave constraints.txt as it is")
    args = parser.parse_args()
    text = re.sub(r"(?m)^-c .*$", "", REQUIREMENTS.read_text("utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder, "Scripts/python.exe" if os.name == "nt" else "bin/python")
        subprocess.run([python, "-m", "pip", "install", "-q", "uv"], check=True)
        if not args.check:
            locked = compiled(python, text, "--universal")
            if locked.returncode:
                print(locked.stderr, file=sys.stderr)
                return 1
            CONSTRAINTS.write_text(HEAD + locked.stdout, "utf-8")
        failed = False
        for system, (platform, macos) in SYSTEMS.items():
            for version in pythons():
                where = ["--python-platform", platform, "--python-version", version]
                found = compiled(python, text, "-c", str(CONSTRAINTS), *where, macos=macos)
                failed |= bool(found.returncode)
                print(f"{system}, Python {version}: {found.stderr or 'wheels for all'}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
