"""For tools that still ask for a setup.py; pyproject.toml says everything."""

from setuptools import setup

setup()
