"""`python -m videorefer_plugin.bench.lmms FOLDER` writes folders of tasks for lmms-eval's `--include_path`."""

import argparse

from videorefer_plugin.bench.lmms.tasks import write_tasks
from videorefer_plugin.errors import BenchError

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="folder to write the tasks to")
    arguments = parser.parse_args()
    try:
        print(write_tasks(arguments.folder))
    except BenchError as problem:
        parser.exit(1, f"{problem}\n")
