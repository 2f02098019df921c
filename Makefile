# tools/make_env.py chooses the Python for .venv, and the ROS 2 to install if none is sourced.
# `make env PYTHON=python3.12 ROS=jazzy` names both.
.PHONY: help env ros2 test test-python faults lint demo console bench gpu tables site clean

help:
	@echo "make env      installs what all other targets need: Python packages, ROS 2 if there is none, the built package"
	@echo "make demo     segments photographs with the installed node and writes demo_out/"
	@echo "make console  shows photographs as a camera, the node, and a page in the browser; Ctrl-C ends it"
	@echo "make test     runs ruff, mypy and all tests"
	@echo "make lint     runs ruff and mypy"
	@echo "make faults   kills, stops and floods the installed node for ten to fifteen minutes; make test has a short form of it"
	@echo "make test-python PYTHON=python3.13  runs the unit tests under another Python, in a temporary environment"
	@echo "make bench    measures models, segmenter and node for half an hour and writes benchmarks/results/"
	@echo "make gpu      tests and measures an NVIDIA GPU for five minutes, with any Python that has PyTorch (PYTHON=...)"
	@echo "make ros2     adds launch and the ros2 command, if make env installed ROS 2; needs a network, or LSEG_ROS2_SOURCES=..."
	@echo "make tables   writes config/lseg.yaml and the tables of options in the documents, from the code"
	@echo "make site     builds the documents as pages in site/"
	@echo "make clean    removes what the other targets made in this folder, except results of measurements"

env:
	@PYTHON="$(PYTHON)" ROS="$(ROS)" python3 tools/make_env.py

ros2: env
	@LSEG_ROS2_SOURCES="$(LSEG_ROS2_SOURCES)" .venv/bin/python tools/make_ros2.py

# Each process takes about 2 GB. The tests of a file stay together, since they share what they prepare.
PYTEST = pytest -n auto --maxprocesses 4 --dist loadfile

# Every check runs, even if one before it failed. The target fails if any check failed.
LINT = ruff check || failed=1; ruff format --check || failed=1; mypy || failed=1

test: env
	@. ./env.sh && { failed=; $(LINT); $(PYTEST) || failed=1; test -z "$$failed"; }

# Needs neither ROS nor a compiler, and some GB while it runs.
test-python:
	@folder=$$(mktemp -d) && trap 'rm -rf "$$folder"' EXIT && $(or $(PYTHON),python3) -m venv "$$folder" \
		&& "$$folder/bin/pip" install -q ".[ros,bag,openvino,onnx,train,demo,dev]" \
		&& env -u PYTHONPATH PATH="$$folder/bin:$$PATH" $(PYTEST) test/unit

faults: env
	@. ./env.sh && pytest test/faults --full -o faulthandler_timeout=7200

lint: env
	@. ./env.sh && { failed=; $(LINT); test -z "$$failed"; }

demo: env
	@. ./env.sh && python tools/demo.py

console: env
	@. ./env.sh && python tools/console.py

bench: env
	@. ./env.sh && python -m benchmarks

# Needs neither ROS nor `make env`.
gpu:
	@"$(or $(PYTHON),python3)" -m benchmarks.gpu

tables: env
	@. ./env.sh && python tools/write_tables.py

# This has its own environment. The pages are made from the sources and need neither torch nor ROS.
site:
	@test -x .venv-site/bin/mkdocs || { python3 -m venv .venv-site && .venv-site/bin/pip install -q "pip>=25.1" \
		&& .venv-site/bin/pip install -q --group docs; }
	@.venv-site/bin/mkdocs build -q && echo "open site/index.html"

clean:
	rm -rf .venv .venv-site site build install log demo_out .pytest_cache .mypy_cache .ruff_cache
