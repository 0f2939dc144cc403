"""`make cases`: small inputs that once showed a fault, each tried as a user would, with what it gives now.

They lie beside the project (../shared/cases, with a README): real files' forms with made-up contents. Each has tests of
its kind elsewhere; here is only that the case itself is mended, and a line for each that says what came of it.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from common import SHARED, needs_shared
from fuzzing import Answer, answer, command

CASES = SHARED / "cases"
TOKENIZER = SHARED / "llama_tokenizer"
pytestmark = [pytest.mark.cases, needs_shared("cases")]
