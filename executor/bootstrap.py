"""The program of the zygote's interpreter: ``python -P bootstrap.py DESCRIPTOR``.

It runs before anything of ours can be imported, so it uses the standard library alone. Our packages have
ordinary names: a user's directory may hold an ``executor`` of its own. They are therefore pinned to the
place this file is in, here and in every worker, whatever ``sys.path`` says.
"""

from __future__ import annotations

import gc
import json
import socket
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PACKAGES: Final = ("protocol", "executor", "orchestrator")


class OurPackages:
    """A finder for ``sys.meta_path``."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if name not in PACKAGES:
            return None
        package = ROOT / name
        return spec_from_file_location(
            name, package / "__init__.py", submodule_search_locations=[str(package)]
        )


def main() -> None:
    channel = socket.socket(fileno=int(sys.argv[1]))
    setup = channel.recv(1 << 20)
    # What ours needs may only be found where the pool's process has found it; last, so that none of
    # the user's modules hides one of the standard library.
    known = set(sys.path)
    sys.path += [entry for entry in json.loads(setup)["sys_path"] if entry not in known]
    sys.meta_path.insert(0, OurPackages)

    gc.disable()  # what is imported stays; ``serve`` enables it
    from executor.zygote import main as serve  # noqa: PLC0415 - only now it can be found

    serve(channel, setup)


if __name__ == "__main__":
    main()
