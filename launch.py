"""Compose a sweep from `conf/` and run it:  python launch.py -m model=llama13b data.fraction=1,1/4,1/16 action=plan"""

import sys
from pathlib import Path

from sft_sweeps.config import command_line
from sft_sweeps.launch import run

if __name__ == "__main__":
    conf = Path(__file__).resolve().parent / "conf"
    sys.exit(command_line.main(run.run, sys.argv[1:], "launch.py", conf))
