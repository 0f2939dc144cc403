"""No value of the environment gets into a configuration: sweeps keep that whole, and reports are published."""

from omegaconf import OmegaConf

RESOLVER = "oc.env"


def refuse() -> None:
    """Make `${oc.env:NAME}` an error, wherever it stands."""
    OmegaConf.register_new_resolver(RESOLVER, _refused, replace=True)


def _refused(name: str, default: object = None) -> None:
    del default
    raise ValueError(
        f"${{oc.env:{name}}} would keep the value of {name} with the sweep. Type it where the shell fills it in, "
        f'KEY="${name}"; of a key, name the variable alone: evaluate.mt_bench.judge.key_variable={name}'
    )
