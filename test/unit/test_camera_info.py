"""CameraInfo of a resized image, compared with points projected by hand."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from sensor_msgs.msg import CameraInfo, RegionOfInterest  # noqa: E402
from std_msgs.msg import Header  # noqa: E402

from lseg_ros.ros.camera_info import scaled  # noqa: E402


def camera(**fields: object) -> CameraInfo:
    """A calibrated right camera of a stereo pair, 640x480."""
    info = CameraInfo(height=480, width=640, distortion_model="plumb_bob", d=[0.1, -0.2, 0.0, 0.0, 0.05])
    info.k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    info.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    info.p = [400.0, 0.0, 310.0, -40.0, 0.0, 410.0, 230.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    for name, value in fields.items():
        setattr(info, name, value)
    return info


def project(matrix: list[float], columns: int, point: tuple[float, ...]) -> np.ndarray:
    u, v, w = np.reshape(matrix, (3, columns)) @ point
    return np.array([u / w, v / w])


@pytest.mark.parametrize(
    ("fields", "size", "offset", "scale"),
    [
        ({}, (480, 640), (0, 0), (1, 1)),
        ({}, (120, 320), (0, 0), (0.5, 0.25)),
        ({"binning_x": 2, "binning_y": 2}, (240, 320), (0, 0), (0.5, 0.5)),  # the image as the camera sent it
        ({"binning_x": 2, "binning_y": 2}, (120, 160), (0, 0), (0.25, 0.25)),
        ({"roi": RegionOfInterest(x_offset=100, y_offset=50, width=200, height=100)}, (100, 200), (100, 50), (1, 1)),
        ({"roi": RegionOfInterest(x_offset=100, y_offset=50, width=200, height=100)}, (50, 400), (100, 50), (2, 0.5)),
    ],
)
def test_points_land_where_the_resized_image_has_them(
    fields: dict[str, object], size: tuple[int, int], offset: tuple[int, int], scale: tuple[float, float]
) -> None:
    info = camera(**fields)
    found = scaled(info, *size, Header(frame_id="a"))
    for point in ((0.0, 0.0, 1.0), (0.3, -0.2, 2.0)):
        expected = (project(info.k, 3, point) - offset) * scale
        np.testing.assert_allclose(project(found.k, 3, point), expected)
        expected = (project(info.p, 4, (*point, 1.0)) - offset) * scale
        np.testing.assert_allclose(project(found.p, 4, (*point, 1.0)), expected)
    assert (found.height, found.width) == size and found.header.frame_id == "a"
    assert found.roi == RegionOfInterest() and not found.binning_x and not found.binning_y
    assert found.distortion_model == "plumb_bob" and found.d == info.d and list(found.r) == list(info.r)


def test_a_camera_that_is_not_calibrated_stays_so() -> None:
    info = CameraInfo(roi=RegionOfInterest(x_offset=5, y_offset=5, width=10, height=10))
    found = scaled(info, 20, 20, Header())
    assert not any(found.k) and not any(found.p)
    assert scaled(CameraInfo(), 20, 30, Header()).width == 30
