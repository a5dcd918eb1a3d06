"""One notebook executed: papermill, and each way to fail told in one line."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ChapterError, InputError
from .files import atomic_path
from .workspace import PROJECT

if TYPE_CHECKING:
    from nbformat import NotebookNode


def execute_notebook(notebook: NotebookNode, params: dict[str, Any], *, name: str) -> NotebookNode:
    """Run every cell in the project's folder with one set of parameters; `name` is for messages.

    Raises
    ------
    InputError
        Bad input met inside the notebook.
    ChapterError
        Any other failure inside it, or a kernel that died.
    """
    import nbformat
    import papermill as pm
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    threads = str(params.get("threads", 1))
    os.environ.update(OMP_NUM_THREADS=threads, OPENBLAS_NUM_THREADS=threads, MKL_NUM_THREADS=threads)
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "source.ipynb", Path(folder) / "result.ipynb"
        nbformat.write(notebook, source)
        try:
            pm.execute_notebook(
                source, result, parameters=params, cwd=PROJECT, kernel_name="python3",
                progress_bar=False, log_output=False, extra_arguments=["--log-level=CRITICAL"],
            )  # fmt: skip
        except PapermillExecutionError as error:
            if error.ename == "InputError":
                raise InputError(error.evalue) from None
            message = f"{name}: a cell failed with {error.ename}: {error.evalue}"
            raise ChapterError(message, re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))) from None
        except (DeadKernelError, CellTimeoutError) as error:
            reason = "its kernel died, most often because memory ran out"
            raise ChapterError(f"{name}: {reason} ({type(error).__name__})") from None
        return nbformat.read(result, as_version=4)


def store_notebook(notebook: NotebookNode, out: Path) -> None:
    """Write a notebook, whole or not at all."""
    import nbformat

    with atomic_path(out) as temporary:
        nbformat.write(notebook, temporary)
