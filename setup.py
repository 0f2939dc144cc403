"""The packages of the wheel; everything else about it stands in pyproject.toml, which cannot say this.

conf/ lies at the top of the checkout, where one looks for it, and in the wheel as sft_sweeps/conf.
"""

from setuptools import find_namespace_packages, setup

CONF = [f"sft_sweeps.{folder}" for folder in find_namespace_packages(include=["conf", "conf.*"])]

setup(
    packages=[*find_namespace_packages(include=["sft_sweeps*", "hydra_plugins*"]), *CONF],
    package_dir={"sft_sweeps.conf": "conf"},
)
