"""Programs that attack the sandbox, by what they are after."""

from sft_sweeps.sandbox.hostile.attack import Attack
from sft_sweeps.sandbox.hostile.files import FILES
from sft_sweeps.sandbox.hostile.forging import FORGING
from sft_sweeps.sandbox.hostile.limits import LIMITS
from sft_sweeps.sandbox.hostile.network import NETWORK
from sft_sweeps.sandbox.hostile.processes import PROCESSES

ATTACKS: tuple[Attack, ...] = (*FILES, *NETWORK, *PROCESSES, *LIMITS, *FORGING)
