"""Shows the console in a browser: plays photographs as a camera, and starts the node and the console.

`make console` runs it. It prints the address to open, and ends all three on Ctrl-C.
"""

import os
import subprocess
import sys
import time

from demo import DemoError, photo_files

LABELS = ["sky", "building", "tree", "water", "person", "cat", "cup", "table", "wall"]
SIZE = 640, 480  # width and height of the camera's images
HOLD = 5.0  # seconds for each photograph
RATE = 5.0  # images a second
_END_WITHIN = 15.0  # seconds


def main() -> int:
    """Runs all three until one ends or Ctrl-C. Returns the exit status."""
    # In its own domain and on this machine only, so that the photographs reach no robot.
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", "101")
    try:
        photos = [str(path) for path in photo_files().values()]
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    width, height = SIZE
    camera = {"sources": photos, "rate": RATE, "hold": HOLD, "width": width, "height": height}
    commands = [
        ["image_player", "--ros-args", *parameters(camera)],
        ["lseg_node", "--ros-args", *parameters({"labels": LABELS})],
        ["lseg_console", *sys.argv[1:]],
    ]
    running = {command[0]: subprocess.Popen(command) for command in commands}
    try:
        while all(process.poll() is None for process in running.values()):
            time.sleep(0.2)
        name, ended = next((name, process) for name, process in running.items() if process.poll() is not None)
        print(f"{name} ended with status {ended.returncode}", file=sys.stderr)
        return ended.returncode or 1
    except KeyboardInterrupt:  # the terminal has sent it to all processes
        return 0
    finally:
        for process in running.values():
            process.terminate()
        for process in running.values():
            try:
                process.wait(_END_WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def parameters(values: dict[str, object]) -> list[str]:
    """Returns parameters as arguments for a node."""
    return [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]


if __name__ == "__main__":
    sys.exit(main())
