"""Installs the pinned clients, each folder's once per lock file."""

import subprocess
import sys
from pathlib import Path

from stack import ROOT

E2E = ROOT / "e2e"
VENV = ROOT / ".tools" / "e2e-python"


def python():
    """The interpreter that has the Python SDKs."""
    interpreter = VENV / "bin" / "python"
    requirements = E2E / "python" / "requirements.txt"
    with once(requirements, VENV / "installed") as needed:
        if needed:
            run(sys.executable, "-m", "venv", "--clear", VENV)
            run(interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements)
    return interpreter


def javascript(folder):
    """The modules of a folder with a package lock; their install scripts do not run."""
    modules = folder / "node_modules"
    with once(folder / "package-lock.json", modules / ".installed") as needed:
        if needed:
            run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", cwd=folder)
    return modules


class once:
    """True unless the stamp says that this very lock has been installed; stamped when the block ends well."""

    def __init__(self, lock, stamp):
        self.lock, self.stamp = lock.read_text(), stamp

    def __enter__(self):
        return not self.stamp.exists() or self.stamp.read_text() != self.lock

    def __exit__(self, failure, *_):
        if failure is None:
            self.stamp.write_text(self.lock)


def run(*command, cwd=None):
    subprocess.run([str(part) for part in command], cwd=cwd, check=True, stdout=sys.stderr)
