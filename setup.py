"""For tools that still need a setup.py. All settings are in pyproject.toml."""

from setuptools import setup

setup()
