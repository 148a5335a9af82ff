"""Installs the pinned clients, each folder's once per lock file."""

import subprocess
import sys
from pathlib import Path

from stack import ROOT

E2E = ROOT / "e2e"


def python(folder):
    """The interpreter that has the packages of a folder with pinned requirements, all that they need named too."""
    environment = ROOT / ".tools" / f"e2e-{folder.name}"
    interpreter = environment / "bin" / "python"
    requirements = folder / "requirements.txt"
    with once(requirements, environment / "installed") as needed:
        if needed:
            pip = (interpreter, "-m", "pip", "--quiet", "--disable-pip-version-check")
            run(sys.executable, "-m", "venv", "--clear", environment)
            run(*pip, "install", "--no-deps", "-r", requirements)
            run(*pip, "check")
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


def program(name):
    """A command line client of the conformance run."""
    return E2E / "conformance" / "node_modules" / ".bin" / name
