"""The one thing that pyproject.toml cannot say: a wheel carries the top-level experiments/ inside the package."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithExperiments(build_py):
    """An editable installation finds the checkout's own, which is why nothing is copied for it."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            for source in sorted(Path("experiments").rglob("[!.]*.toml")):
                target = Path(self.build_lib, "replication", source)
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target))


setup(cmdclass={"build_py": BuildWithExperiments})
